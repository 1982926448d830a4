//! A real database behind TLS: who is believed, and who is admitted.

use bessemer_core::reason::FailureClass;
use bessemer_fabric::{Error, OvsdbAddress, OvsdbSwitch, Switch};
use bessemer_tls::rustls::ClientConfig;
use bessemer_tls::{ClientIdentity, Trust, authorities_from_pem, client_config, client_config_as};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::real::{apply, plan, soon};
use crate::vswitch::Vswitch;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        let names = &mut parameters.distinguished_name;
        names.push(DnType::CommonName, "authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for 127.0.0.1, and its key.
    fn signs(&self) -> (String, String) {
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let names = &mut parameters.distinguished_name;
        names.push(DnType::CommonName, "peer");
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn trust(&self) -> Trust {
        Trust::Authorities(authorities_from_pem(self.pem().as_bytes()).unwrap())
    }

    fn identity(&self) -> ClientIdentity {
        let (certificate, key) = self.signs();
        ClientIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

fn switch(port: u16, config: ClientConfig) -> OvsdbSwitch {
    let host = "127.0.0.1".to_owned();
    OvsdbSwitch::new("leaf1", OvsdbAddress::Tls { host, port }).with_tls(config)
}

#[tokio::test]
async fn both_sides_must_believe_each_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let vswitch = Vswitch::start();
    let (certificate, key) = authority.signs();
    let port = vswitch.listen_with_tls(&certificate, &key, &authority.pem());

    let good = client_config_as(&authority.trust(), &authority.identity()).unwrap();
    apply(&switch(port, good), &[plan("p1", 100)])
        .await
        .unwrap();
    assert!(vswitch.flooded_from("p1").is_empty());

    let unknown = client_config_as(&stranger.trust(), &authority.identity()).unwrap();
    let error = apply(&switch(port, unknown), &[plan("p1", 7)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotBelieved { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Operator);

    for ours in [
        client_config_as(&authority.trust(), &stranger.identity()).unwrap(),
        client_config(&authority.trust()).unwrap(),
    ] {
        let error = apply(&switch(port, ours), &[plan("p1", 7)])
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotAdmitted { .. }), "{error:?}");
        assert_eq!(error.class(), FailureClass::Operator);
    }
    assert!(vswitch.flooded_from("p1").is_empty(), "nothing was changed");
}

#[tokio::test]
async fn without_credentials_nothing_is_tried() {
    let address = "ssl:127.0.0.1:1".parse().unwrap();
    let switch = OvsdbSwitch::new("leaf1", address);
    let error = switch.read(&["p1".to_owned()], soon()).await.unwrap_err();
    assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Operator);
}

#[test]
fn identities_do_not_show_their_keys() {
    let (certificate, key) = Authority::new().signs();
    let identity = ClientIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let shown = format!("{identity:?}");
    assert!(
        shown.contains("certificate") && !shown.contains("key"),
        "{shown}"
    );
    for (certificate, key) in [("", key.as_str()), (certificate.as_str(), "x")] {
        assert!(ClientIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).is_err());
    }
}
