#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (bessemer_fuzz::target("ovsdb_stream").read)(input));
