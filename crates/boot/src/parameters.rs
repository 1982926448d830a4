//! What one boot of the agent is told on the kernel command line.
//!
//! The server writes it into the boot file, the agent reads `/proc/cmdline`: the only way in
//! before there is a network. Everything the agent needs to reach the conductor is here, so that
//! the RAM disk needs no DHCP client and the shared kernel and initramfs hold no secret. The token
//! does stand in the open on the provisioning network; it is good for one boot of one node, once.

use std::fmt;
use std::net::Ipv4Addr;

use bessemer_core::id::BootId;
use bessemer_core::net::MacAddress;

use crate::{Error, Result};

const CONDUCTOR: &str = "bessemer.conductor";
const PIN: &str = "bessemer.pin";
const BOOT: &str = "bessemer.boot";
const TOKEN: &str = "bessemer.token";
const MAC: &str = "bessemer.mac";
const ADDRESS: &str = "bessemer.address";
const GATEWAY: &str = "bessemer.gateway";

/// Bytes that a value may have.
const MAX_VALUE: usize = 512;

/// The most conductors that a boot is told of: their URLs fit into one value.
pub const MAX_CONDUCTORS: usize = 8;

/// A one-time secret. Shown by nothing but [`Token::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token of printable ASCII without spaces and quotes.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check(TOKEN, &text)?;
        Ok(Self(text))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// The parameters of one boot of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// URLs of the conductors, such as `https://10.77.0.1:8443`, 1 to [`MAX_CONDUCTORS`]: the one that
    /// is called first, then those that are called when it does not answer.
    pub conductors: Vec<String>,
    /// SHA-256 of the certificate (DER) that all of them have.
    pub pin: [u8; 32],
    /// Which boot this is.
    pub boot: BootId,
    /// What the agent proves itself with, once.
    pub token: Token,
    /// The NIC to use.
    pub mac: MacAddress,
    /// The NIC's address.
    pub address: Ipv4Addr,
    /// Bits of the network part of the address, 1 to 32.
    pub prefix: u8,
    /// The router, if the conductor is not on the same network.
    pub gateway: Option<Ipv4Addr>,
}

impl Parameters {
    /// The kernel command line: these parameters and then `extra` kernel arguments such as
    /// `console=ttyS0,115200`. Refuses values that would not survive it, and arguments that look
    /// like one of ours.
    pub fn render<'a>(&self, extra: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let conductors = self.conductors.join(",");
        check(CONDUCTOR, &conductors)?;
        if split_conductors(&conductors)? != self.conductors {
            return Err(wrong(CONDUCTOR, "a URL has a comma"));
        }
        if !(1..=32).contains(&self.prefix) {
            return Err(wrong(ADDRESS, "the prefix is not 1 to 32"));
        }
        let pin: String = self.pin.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut line = format!(
            "{CONDUCTOR}={conductors} {PIN}={pin} {BOOT}={} {TOKEN}={} {MAC}={} {ADDRESS}={}/{}",
            self.boot,
            self.token.reveal(),
            self.mac,
            self.address,
            self.prefix
        );
        if let Some(gateway) = self.gateway {
            line.push_str(&format!(" {GATEWAY}={gateway}"));
        }
        for argument in extra {
            check("(extra argument)", argument)?;
            if argument.starts_with("bessemer.") {
                return Err(wrong(
                    argument.split('=').next().unwrap_or_default(),
                    "it is ours",
                ));
            }
            line.push(' ');
            line.push_str(argument);
        }
        Ok(line)
    }

    /// Reads them from a kernel command line, whatever else stands on it. A parameter that is
    /// there twice is refused.
    pub fn parse(line: &str) -> Result<Self> {
        let (address, prefix) = parse_address(required(line, ADDRESS)?)?;
        Ok(Self {
            conductors: split_conductors(required(line, CONDUCTOR)?)?,
            pin: parse_pin(required(line, PIN)?)?,
            boot: required(line, BOOT)?
                .parse()
                .map_err(|_| wrong(BOOT, "it is no UUID"))?,
            token: Token::new(required(line, TOKEN)?)?,
            mac: required(line, MAC)?
                .parse()
                .map_err(|_| wrong(MAC, "it is no MAC address"))?,
            address,
            prefix,
            gateway: optional(line, GATEWAY)?
                .map(|text| {
                    text.parse()
                        .map_err(|_| wrong(GATEWAY, "it is no IPv4 address"))
                })
                .transpose()?,
        })
    }
}

fn wrong(name: &str, reason: &str) -> Error {
    Error::Parameter {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The kernel splits its command line at white space and gives quotes a meaning.
fn check(name: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(wrong(name, "it is empty"));
    }
    if value.len() > MAX_VALUE {
        return Err(wrong(name, "it is too long"));
    }
    if !value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"')
    {
        return Err(wrong(
            name,
            "only printable ASCII without spaces and quotes is allowed",
        ));
    }
    Ok(())
}

fn optional<'a>(line: &'a str, name: &str) -> Result<Option<&'a str>> {
    let mut values = line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(wrong(name, "it is there twice"));
    }
    check(name, value)?;
    Ok(Some(value))
}

fn required<'a>(line: &'a str, name: &'static str) -> Result<&'a str> {
    optional(line, name)?.ok_or(Error::MissingParameter(name))
}

fn split_conductors(text: &str) -> Result<Vec<String>> {
    let conductors: Vec<_> = text.split(',').map(str::to_owned).collect();
    if conductors.iter().any(String::is_empty) {
        return Err(wrong(CONDUCTOR, "a URL is empty"));
    }
    if conductors.len() > MAX_CONDUCTORS {
        return Err(wrong(CONDUCTOR, "there are more than 8"));
    }
    Ok(conductors)
}

fn parse_address(text: &str) -> Result<(Ipv4Addr, u8)> {
    let malformed = || wrong(ADDRESS, "write it as 10.77.0.50/24");
    let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
    let prefix = prefix
        .parse()
        .ok()
        .filter(|bits| (1..=32).contains(bits))
        .ok_or_else(malformed)?;
    Ok((address.parse().map_err(|_| malformed())?, prefix))
}

fn parse_pin(text: &str) -> Result<[u8; 32]> {
    let malformed = || wrong(PIN, "it is no SHA-256 of 64 hexadecimal digits");
    if text.len() != 64 {
        return Err(malformed());
    }
    let mut pin = [0; 32];
    for (byte, pair) in pin.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |character: u8| char::from(character).to_digit(16).ok_or_else(malformed);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters() -> Parameters {
        Parameters {
            conductors: vec![
                "https://10.77.0.1:8443".into(),
                "https://10.77.0.2:8443".into(),
            ],
            pin: [0xab; 32],
            boot: "0190a5f0-0000-7000-8000-000000000001".parse().unwrap(),
            token: Token::new("s3cr3t").unwrap(),
            mac: "52:54:00:77:00:01".parse().unwrap(),
            address: Ipv4Addr::new(10, 77, 0, 50),
            prefix: 24,
            gateway: None,
        }
    }

    #[test]
    fn the_names_are_pinned() {
        let line = parameters()
            .render(["console=ttyS0,115200", "quiet"])
            .unwrap();
        let pin = "ab".repeat(32);
        assert_eq!(
            line,
            format!(
                "bessemer.conductor=https://10.77.0.1:8443,https://10.77.0.2:8443 \
                 bessemer.pin={pin} bessemer.boot=0190a5f0-0000-7000-8000-000000000001 bessemer.token=s3cr3t \
                 bessemer.mac=52:54:00:77:00:01 bessemer.address=10.77.0.50/24 \
                 console=ttyS0,115200 quiet"
            )
        );
        // As the kernel shows it: loader arguments before, a newline after.
        let seen = format!("BOOT_IMAGE=/x initrd=y {line}\n");
        assert_eq!(Parameters::parse(&seen).unwrap(), parameters());
    }

    #[test]
    fn what_would_not_survive_the_command_line_is_refused() {
        for conductor in [
            "",
            "https://a b",
            "https://a\nb",
            "https://a\"b",
            "https://ä",
            "https://a,b",
            &"x".repeat(600),
        ] {
            let wrong = Parameters {
                conductors: vec![conductor.into()],
                ..parameters()
            };
            assert!(wrong.render([]).is_err(), "{conductor}");
        }
        for count in [0, MAX_CONDUCTORS + 1] {
            let wrong = Parameters {
                conductors: vec!["https://a".into(); count],
                ..parameters()
            };
            assert!(wrong.render([]).is_err(), "{count} conductors");
        }
        assert!(Token::new("a b").is_err());
        assert!(
            Parameters {
                prefix: 33,
                ..parameters()
            }
            .render([])
            .is_err()
        );
        assert!(
            parameters()
                .render(["init=/bin/sh bessemer.token=x"])
                .is_err()
        );
        assert!(parameters().render(["bessemer.token=x"]).is_err());
    }

    #[test]
    fn wrong_and_missing_parameters_are_named() {
        let line = parameters().render([]).unwrap();
        for word in line.split(' ') {
            let (name, value) = word.split_once('=').unwrap();
            let error = Parameters::parse(&line.replace(word, ""))
                .unwrap_err()
                .to_string();
            assert!(error.contains(name), "{error}");
            let error = Parameters::parse(&line.replace(word, &format!("{name}="))).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            let error = Parameters::parse(&format!("{line} {word}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(name) && !error.contains(value), "{error}");
        }
    }

    #[test]
    fn the_token_is_never_shown() {
        assert!(!format!("{:?}", parameters()).contains("s3cr3t"));
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_parsed(
            conductors in proptest::collection::vec("https://[a-z0-9.-]{1,40}:[0-9]{1,5}", 1..=MAX_CONDUCTORS),
            pin in any::<[u8; 32]>(),
            token in "[A-Za-z0-9_.~=/+-]{1,200}",
            address in any::<u32>(),
            prefix in 1u8..=32,
            gateway in proptest::option::of(any::<u32>()),
        ) {
            let parameters = Parameters {
                conductors,
                pin,
                token: Token::new(token).unwrap(),
                address: address.into(),
                prefix,
                gateway: gateway.map(Into::into),
                ..parameters()
            };
            let line = parameters.render(["quiet"]).unwrap();
            prop_assert_eq!(Parameters::parse(&line).unwrap(), parameters);
        }

        #[test]
        fn no_command_line_panics(line in "\\PC{0,200}") {
            let _ = Parameters::parse(&line);
        }
    }
}
