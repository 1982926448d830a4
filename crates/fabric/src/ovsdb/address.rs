//! Where a database is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// Where an OVSDB server listens, written as `ovsdb(7)` writes it: `unix:/run/…/db.sock` or
/// `tcp:host:port` or `ssl:host:port`, an IPv6 host in brackets. TCP is neither encrypted nor
/// authenticated: only for a management network nobody else is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OvsdbAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// Port; 6640 is OVSDB's own.
        port: u16,
    },
    /// A TCP port where TLS is spoken.
    Tls {
        /// Host name or IP address, without brackets: whom the certificate is for.
        host: String,
        /// Port; 6640 is OVSDB's own.
        port: u16,
    },
}

impl FromStr for OvsdbAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |problem| Error::BadAddress {
            address: text.chars().take(200).collect(),
            problem,
        };
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("unix", _)) => Err(bad(
                "write the whole path of the socket: unix:/run/…/db.sock",
            )),
            Some(("tcp", rest)) => {
                let (host, port) = host_and_port(rest).map_err(bad)?;
                Ok(Self::Tcp { host, port })
            }
            Some(("ssl", rest)) => {
                let (host, port) = host_and_port(rest).map_err(bad)?;
                Ok(Self::Tls { host, port })
            }
            _ => Err(bad("must begin with unix:, tcp: or ssl:")),
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or("has no port; write it as tcp:host:6640 or ssl:host:6640")?;
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or("the port is not a number from 1 to 65535")?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err("has no host; write it as tcp:host:6640 or ssl:host:6640");
    }
    Ok((host.to_owned(), port))
}

impl fmt::Display for OvsdbAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { host, port } => write!(formatter, "tcp:{}:{port}", bracketed(host)),
            Self::Tls { host, port } => write!(formatter, "ssl:{}:{port}", bracketed(host)),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for text in [
            "unix:/run/openvswitch/db.sock",
            "tcp:10.0.0.2:6640",
            "tcp:[fe80::1]:6640",
            "ssl:leaf1.example:6640",
            "ssl:[fe80::1]:6640",
        ] {
            assert_eq!(text.parse::<OvsdbAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_remedy() {
        for (text, part) in [
            ("", "unix:, tcp: or ssl:"),
            ("ptcp:10.0.0.2:6640", "unix:, tcp: or ssl:"),
            ("unix:db.sock", "whole path"),
            ("tcp:10.0.0.2", "port"),
            ("tcp:10.0.0.2:0", "65535"),
            ("tcp:10.0.0.2:66400", "65535"),
            ("tcp::6640", "no host"),
            ("ssl:leaf1", "no port"),
        ] {
            let error = text.parse::<OvsdbAddress>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
