#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (bessemer_fuzz::target("agent_request").read)(input));
