//! How a management controller is reached: checked and sealed when a machine is registered, and
//! when its controller's account, certificate or address changes later.

use bessemer_bmc::ipmi::IpmiEndpoint;
use bessemer_bmc::redfish::Endpoint;
use bessemer_core::id::NodeId;
use bessemer_store::{BmcRecord, NodeRecord};
use bessemer_tls::Fingerprint;
use bessemer_wire::api::{BmcCreate, BmcTrust, BmcUpdate, IpmiKey};
use url::Url;

use crate::api::problem::{Refusal, sentence};
use crate::api::values;
use crate::bmcs::is_ipmi;
use crate::keyring::purpose;
use crate::site::Site;

/// The longest password, in bytes. (Redfish leaves it open; no BMC takes more than 256.)
const MAX_PASSWORD: usize = 256;

/// The longest user name and password of IPMI, in bytes.
const MAX_IPMI_USERNAME: usize = bessemer_bmc::ipmi::wire::MAX_USERNAME;
const MAX_IPMI_PASSWORD: usize = bessemer_bmc::ipmi::wire::MAX_PASSWORD;

/// The account as it is after `update`, checked as a whole.
///
/// A stored password goes to the place that it was entered for, judged as strictly as it was then:
/// who wants it sent elsewhere, or to whoever answers, has to know it.
pub(super) fn change(
    site: &Site,
    node: &NodeRecord,
    update: BmcUpdate,
) -> Result<BmcRecord, Refusal> {
    let stored = &node.bmc;
    let weaker = update.trust == Some(BmcTrust::Insecure) && stored.trust != BmcTrust::Insecure;
    if (update.url.is_some() || weaker) && update.password.is_none() {
        return Err(Refusal::invalid(
            "bmc.password",
            "The stored password is not sent to another address, nor without a check of who answers.",
        )
        .remedy("Give the password together with the new `url` or `trust`."));
    }
    let ipmi_key_sealed = match (&update.ipmi_key, &stored.ipmi_key_sealed) {
        (Some(Some(key)), _) => Some(seal_ipmi_key(site, node.id, key)?),
        (Some(None), _) => None,
        (None, kept) => kept.clone(),
    };
    let password = match update.password {
        Some(password) => password,
        None => stored_password(site, node)?,
    };
    let bmc = BmcCreate {
        url: update.url.unwrap_or_else(|| stored.url.clone()),
        username: update.username.unwrap_or_else(|| stored.username.clone()),
        password,
        trust: update.trust.unwrap_or_else(|| stored.trust.clone()),
        ipmi_key: None,
    };
    let checked = check(site, node.id, bmc)?;
    Ok(BmcRecord {
        ipmi_key_sealed,
        ..checked
    })
}

fn stored_password(site: &Site, node: &NodeRecord) -> Result<String, Refusal> {
    let sealed = &node.bmc.password_sealed;
    let opened = site.keyring.open(&purpose::bmc_password(node.id), sealed)?;
    String::from_utf8(opened).map_err(|_| {
        Refusal::invalid("bmc.password", "The stored password is not text.")
            .remedy("Give the password again.")
    })
}

/// The account as it is to be stored, with its secrets sealed.
pub(super) fn check(site: &Site, node: NodeId, bmc: BmcCreate) -> Result<BmcRecord, Refusal> {
    let trust = check_trust(bmc.trust)?;
    let url = check_url(&bmc.url, &trust)?;
    values::text("bmc.username", &bmc.username, 64)?;
    if is_ipmi(&url) {
        check_ipmi_account(&bmc.username, &bmc.password)?;
    }
    if !(1..=MAX_PASSWORD).contains(&bmc.password.len()) || bmc.password.contains('\0') {
        return Err(Refusal::invalid(
            "bmc.password",
            format!("A password has 1 to {MAX_PASSWORD} bytes, none of them zero."),
        ));
    }
    let password_sealed = site
        .keyring
        .seal(&purpose::bmc_password(node), bmc.password.as_bytes())?;
    let ipmi_key_sealed = match &bmc.ipmi_key {
        Some(key) => Some(seal_ipmi_key(site, node, key)?),
        None => None,
    };
    Ok(BmcRecord {
        url,
        username: bmc.username,
        password_sealed,
        ipmi_key_sealed,
        trust,
    })
}

/// A key K_g as it is stored, if it is one: an empty one, or zeros only, is what controllers without
/// a key have (IPMI 2.0, section 13.33).
fn seal_ipmi_key(site: &Site, node: NodeId, key: &IpmiKey) -> Result<Vec<u8>, Refusal> {
    let bytes = hexadecimal(&key.0).filter(|bytes| bytes.iter().any(|byte| *byte != 0));
    let bytes = bytes.ok_or_else(|| {
        Refusal::invalid(
            "bmc.ipmi_key",
            "The key K_g has 2 to 40 hexadecimal digits, an even number of them and not all zero.",
        )
        .remedy("Leave it out for a controller that has none.")
    })?;
    Ok(site.keyring.seal(&purpose::ipmi_key(node), &bytes)?)
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() > 2 * MAX_IPMI_PASSWORD || !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| u8::try_from(value(&pair[0])? * 16 + value(&pair[1])?).ok())
        .collect()
}

/// IPMI keeps names and passwords in fields of fixed length (sections 22.28 and 22.30).
fn check_ipmi_account(username: &str, password: &str) -> Result<(), Refusal> {
    for (field, value, longest) in [
        ("bmc.username", username, MAX_IPMI_USERNAME),
        ("bmc.password", password, MAX_IPMI_PASSWORD),
    ] {
        if value.len() > longest {
            return Err(Refusal::invalid(
                field,
                format!("IPMI has no more than {longest} bytes for it."),
            )
            .remedy("Use an account of the BMC's with a shorter one, or its Redfish URL."));
        }
    }
    Ok(())
}

/// The trust with its fingerprint in the one spelling that is stored.
fn check_trust(trust: BmcTrust) -> Result<BmcTrust, Refusal> {
    let BmcTrust::Pinned(fingerprint) = trust else {
        return Ok(trust);
    };
    let fingerprint: Fingerprint = fingerprint
        .parse()
        .map_err(|error| Refusal::invalid("bmc.trust.pinned", sentence(&error)))?;
    Ok(BmcTrust::Pinned(fingerprint.to_string()))
}

/// The URL in its normal form, so that two spellings of one BMC are noticed. What was given is
/// never repeated in an error: people write passwords into URLs.
fn check_url(url: &str, trust: &BmcTrust) -> Result<String, Refusal> {
    let refuse = |detail: String| {
        Refusal::invalid("bmc.url", detail).remedy(
            "Write it as https://10.0.3.17, or ipmi://10.0.3.17 for a BMC without Redfish; http:// only \
             together with `trust: insecure`, and user name and password in their own fields.",
        )
    };
    let wrong = |error| match error {
        bessemer_bmc::Error::BadAddress { problem, .. } => {
            refuse(format!("The URL is wrong: {problem}."))
        }
        _ => refuse("The URL is wrong.".into()),
    };
    if is_ipmi(url) {
        if matches!(trust, BmcTrust::Pinned(_)) {
            return Err(Refusal::invalid(
                "bmc.trust.pinned",
                "IPMI has no certificates: both sides prove that they know the password.",
            )
            .remedy("Leave `trust` out."));
        }
        return Ok(IpmiEndpoint::new(url).map_err(wrong)?.name());
    }
    let security = crate::bmcs::security(url, trust).map_err(refuse)?;
    Endpoint::new(url, security).map_err(wrong)?;
    let url = Url::parse(url).map_err(|_| refuse("This is not a URL.".into()))?;
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bmc_has_one_spelling() {
        let insecure = BmcTrust::Insecure;
        for (given, stored) in [
            ("https://BMC7.example/redfish/v1/", "https://bmc7.example"),
            ("https://bmc7.example:443", "https://bmc7.example"),
            ("https://[FE80::0:1]:8443/", "https://[fe80::1]:8443"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("IPMI://BMC7.example:623/", "ipmi://bmc7.example"),
            ("ipmi://[fe80::0:1]:6230", "ipmi://[fe80::1]:6230"),
        ] {
            assert_eq!(check_url(given, &insecure).unwrap(), stored);
        }
    }

    #[test]
    fn passwords_in_urls_are_not_repeated() {
        for url in [
            "https://root:planted@bmc7",
            "https://root:planted@bm c7",
            "ftp://root:planted@bmc7",
            "ipmi://root:planted@bmc7",
            "root:planted@bmc7",
            "http://root:planted@bmc7",
            "https://bmc7/?password=planted",
        ] {
            let document = check_url(url, &BmcTrust::System)
                .unwrap_err()
                .document(String::new());
            let text = serde_json::to_string(&document).unwrap();
            assert!(!text.contains("planted"), "{text}");
            assert_eq!(document.field.as_deref(), Some("bmc.url"));
        }
    }

    #[test]
    fn an_account_that_ipmi_has_no_room_for_is_named() {
        check_ipmi_account("16-bytes-of-name", "20-bytes-of-password").unwrap();
        for (username, password, field) in [
            ("17-bytes-of-a-name", "x", "bmc.username"),
            ("admin", "21-bytes-of-a-password", "bmc.password"),
        ] {
            let refusal = check_ipmi_account(username, password).unwrap_err();
            let document = refusal.document(String::new());
            assert_eq!(document.field.as_deref(), Some(field));
        }
    }

    #[test]
    fn keys_are_hexadecimal() {
        assert_eq!(hexadecimal("0x0aFf").unwrap(), [10, 255]);
        assert_eq!(hexadecimal(&"ab".repeat(20)).unwrap(), [0xab; 20]);
        for wrong in ["abc", "zz", "+1", &"ab".repeat(21), "0x0x00", "äb"] {
            assert_eq!(hexadecimal(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_certificate_cannot_be_pinned_for_ipmi() {
        let pinned = BmcTrust::Pinned("00".repeat(32));
        let document = check_url("ipmi://bmc7", &pinned).unwrap_err();
        let field = document.document(String::new()).field;
        assert_eq!(field.as_deref(), Some("bmc.trust.pinned"));
    }
}
