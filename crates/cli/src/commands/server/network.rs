//! `--network` of an order: a network, and what is asked of the server's place on it.

use std::str::FromStr;

use bessemer_core::port_plan::AttachmentMode;
use bessemer_wire::api::NetworkRequest;

/// A network with words after it, such as `tenant,address=192.168.100.50`.
#[derive(Clone, Debug)]
pub(super) struct NetworkArgument(pub(super) NetworkRequest);

impl FromStr for NetworkArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(',').map(str::trim);
        let network = words.next().unwrap_or_default();
        if network.is_empty() || network.contains('=') {
            return Err(
                "begin with the network's name, as in tenant,address=192.168.100.50".into(),
            );
        }
        let mut request = NetworkRequest {
            network: network.to_owned(),
            addresses: Vec::new(),
            port: None,
            mode: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("address", address)) => {
                    let wrong = |_| format!("`{address}` is no IP address");
                    request.addresses.push(address.parse().map_err(wrong)?);
                }
                Some(("port", port)) => request.port = Some(port.to_owned()),
                Some(("mode", mode)) => request.mode = Some(named(mode)?),
                _ => {
                    return Err(format!(
                        "`{word}` is not understood: what can follow a network is port=PORT, \
                         mode=native, mode=tagged and address=ADDRESS"
                    ));
                }
            }
        }
        Ok(Self(request))
    }
}

fn named(name: &str) -> Result<AttachmentMode, String> {
    let mut all = AttachmentMode::ALL.iter().copied();
    all.find(|mode| mode.name() == name)
        .ok_or_else(|| format!("`{name}` is neither native nor tagged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_may_have_words_after_it() {
        let read = |text: &str| text.parse::<NetworkArgument>().map(|each| each.0);
        let plain = read("tenant").unwrap();
        assert_eq!(
            (plain.network.as_str(), plain.addresses.len()),
            ("tenant", 0)
        );
        let fixed = read("tenant,address=10.0.0.7,address=2001:db8::7").unwrap();
        let addresses: Vec<_> = fixed.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.7", "2001:db8::7"]);
        let placed = read("backend,port=52:54:00:00:00:01,mode=tagged").unwrap();
        assert_eq!(placed.port.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(placed.mode, Some(AttachmentMode::Tagged));
        for (wrong, words) in [
            ("", "begin with"),
            ("address=10.0.0.7", "begin with"),
            ("tenant,address=x", "no IP address"),
            ("tenant,mode=both", "neither native nor tagged"),
            ("tenant,colour=red", "`colour=red` is not understood"),
            ("tenant,", "not understood"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
