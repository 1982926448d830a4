//! Where a BMC is and how the connection to it is secured.

use bessemer_tls::Trust;
use url::Url;

use crate::Error;

/// Bytes of a path or URL that a BMC gives; longer ones lead nowhere.
pub(super) const LONGEST_REFERENCE: usize = 2048;

/// How the connection to a BMC is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// `https`, believing whom [`Trust`] says.
    Tls(Trust),
    /// `http`: credentials travel in the clear. Only for a simulator on the same machine, or a
    /// network nobody else is on, and only because a person said so.
    UnencryptedHttp,
}

/// The address of a BMC's Redfish service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    security: Security,
}

impl Endpoint {
    /// The service at `address`, a URL such as `https://10.0.3.17` or `https://bmc7.example:8443`.
    ///
    /// # Errors
    /// [`Error::BadAddress`] when it is not such a URL, or its scheme contradicts `security`.
    pub fn new(address: &str, security: Security) -> Result<Self, Error> {
        let bad = |problem| Error::BadAddress {
            address: address.chars().take(200).collect(),
            problem,
        };
        let mut url = Url::parse(address)
            .map_err(|_| bad("not a URL; write it as https://10.0.3.17 or https://bmc7.example"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::BadAddress {
                address: url.host_str().unwrap_or_default().to_owned(),
                problem: "holds a user name or password; give those separately",
            });
        }
        match (url.scheme(), &security) {
            ("https", Security::Tls(_)) | ("http", Security::UnencryptedHttp) => {}
            ("http", Security::Tls(_)) => {
                return Err(bad(
                    "is not encrypted; use https, or allow unencrypted http explicitly",
                ));
            }
            ("https", Security::UnencryptedHttp) => {
                return Err(bad(
                    "is https; say whom to trust instead of allowing unencrypted http",
                ));
            }
            _ => return Err(bad("must begin with https://")),
        }
        let path = url.path().trim_end_matches('/');
        if !path.is_empty() && path != "/redfish" && path != "/redfish/v1" {
            return Err(bad("has a path; give only scheme, host and port"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(
                "has a query or fragment; give only scheme, host and port",
            ));
        }
        url.set_path("/");
        Ok(Self { url, security })
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    /// For messages: the URL without its last slash.
    pub(super) fn name(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// Host (an IPv6 address without brackets) and port.
    pub(super) fn host_and_port(&self) -> (String, u16) {
        let host = self.url.host_str().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        (host, self.url.port_or_known_default().unwrap_or(443))
    }

    /// The URL of what `reference`, a path or URL that the BMC gave, points to; `None` if that is
    /// anywhere but on this BMC.
    pub(super) fn resolve(&self, reference: &str) -> Option<Url> {
        if reference.is_empty() || reference.len() > LONGEST_REFERENCE {
            return None;
        }
        let url = self.url.join(reference).ok()?;
        let here = url.origin() == self.url.origin();
        (here && url.username().is_empty() && url.password().is_none()).then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(address: &str) -> Result<Endpoint, Error> {
        Endpoint::new(address, Security::UnencryptedHttp)
    }

    fn https(address: &str) -> Result<Endpoint, Error> {
        Endpoint::new(address, Security::Tls(Trust::InsecureNoVerification))
    }

    #[test]
    fn accepts_hosts_with_or_without_the_service_root() {
        for address in ["https://bmc7", "https://bmc7/", "https://bmc7/redfish/v1/"] {
            assert_eq!(https(address).unwrap().name(), "https://bmc7");
        }
        assert_eq!(
            https("https://[fe80::1]").unwrap().host_and_port(),
            ("fe80::1".into(), 443)
        );
        assert_eq!(
            http("http://127.0.0.1:8000").unwrap().host_and_port().1,
            8000
        );
    }

    #[test]
    fn refuses_what_is_no_address_and_says_why() {
        for (address, part) in [
            ("10.0.3.17", "not a URL"),
            ("https://bmc7/login", "path"),
            ("https://bmc7/?a=b", "query"),
            ("ftp://bmc7", "https://"),
            ("http://bmc7", "not encrypted"),
        ] {
            let text = https(address).unwrap_err().to_string();
            assert!(text.contains(part), "{address}: {text}");
        }
        assert!(
            http("https://bmc7")
                .unwrap_err()
                .to_string()
                .contains("trust")
        );
        let text = https("https://root:calvin@bmc7").unwrap_err().to_string();
        assert!(!text.contains("calvin") && text.contains("bmc7"), "{text}");
    }

    #[test]
    fn references_never_lead_elsewhere() {
        let endpoint = https("https://bmc7").unwrap();
        let resolved = endpoint.resolve("/redfish/v1/Systems/1").unwrap();
        assert_eq!(resolved.as_str(), "https://bmc7/redfish/v1/Systems/1");
        assert!(endpoint.resolve("https://bmc7:443/redfish/v1").is_some());
        let long = "/".repeat(3000);
        for reference in [
            "",
            "//elsewhere/redfish",
            "/\\elsewhere/redfish",
            "https://elsewhere/redfish",
            "http://bmc7/redfish",
            "https://bmc7:444/redfish",
            "https://root@bmc7/redfish",
            "file:///etc/passwd",
            &long,
        ] {
            assert_eq!(endpoint.resolve(reference), None, "{reference}");
        }
    }
}
