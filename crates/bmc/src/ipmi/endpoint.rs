//! Where a BMC's IPMI service is.

use url::Url;

use crate::Error;

/// UDP port of RMCP (section 13.1.2).
const RMCP_PORT: u16 = 623;

/// The address of a BMC's IPMI service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpmiEndpoint {
    /// Name or address; an IPv6 address without brackets.
    host: String,
    port: u16,
}

impl IpmiEndpoint {
    /// The service at `address`, a URL such as `ipmi://10.0.3.17` or `ipmi://bmc7.example:6230`.
    ///
    /// # Errors
    /// [`Error::BadAddress`] when it is not such a URL.
    pub fn new(address: &str) -> Result<Self, Error> {
        let bad = |problem| Error::BadAddress {
            address: address.chars().take(200).collect(),
            problem,
        };
        let url =
            Url::parse(address).map_err(|_| bad("not a URL; write it as ipmi://10.0.3.17"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::BadAddress {
                address: url.host_str().unwrap_or_default().to_owned(),
                problem: "holds a user name or password; give those separately",
            });
        }
        if url.scheme() != "ipmi" {
            return Err(bad("must begin with ipmi://"));
        }
        let bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare {
            return Err(bad("has more than scheme, host and port"));
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        if url.port() == Some(0) {
            return Err(bad("has port 0; leave the port out for 623"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: url.port().unwrap_or(RMCP_PORT),
        })
    }

    /// The service on the usual port of `host`, a name or an address without brackets.
    pub fn of_host(host: &str) -> Self {
        Self {
            host: host.to_ascii_lowercase(),
            port: RMCP_PORT,
        }
    }

    /// The URL in its one spelling.
    pub fn name(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            RMCP_PORT => format!("ipmi://{host}"),
            port => format!("ipmi://{host}:{port}"),
        }
    }

    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bmc_has_one_spelling() {
        for (given, name) in [
            ("ipmi://10.0.3.17", "ipmi://10.0.3.17"),
            ("ipmi://BMC7.example:623/", "ipmi://bmc7.example"),
            ("ipmi://bmc7:6230", "ipmi://bmc7:6230"),
            ("ipmi://[FE80::0:1]:624", "ipmi://[fe80::1]:624"),
        ] {
            assert_eq!(IpmiEndpoint::new(given).unwrap().name(), name);
        }
        assert_eq!(IpmiEndpoint::of_host("fe80::1").name(), "ipmi://[fe80::1]");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_passwords() {
        for (given, part) in [
            ("10.0.3.17", "not a URL"),
            ("https://bmc7", "ipmi://"),
            ("ipmi://bmc7/login", "scheme, host and port"),
            ("ipmi://bmc7?a=b", "scheme, host and port"),
            ("ipmi://bmc7:0", "port 0"),
            ("ipmi:", "names no host"),
            ("ipmi://root:planted@bmc7", "give those separately"),
        ] {
            let text = IpmiEndpoint::new(given).unwrap_err().to_string();
            assert!(text.contains(part), "{given}: {text}");
            assert!(!text.contains("planted"), "{text}");
        }
    }
}
