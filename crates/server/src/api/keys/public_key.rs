//! Reading an SSH public key line, to refuse what sshd would silently pass over: the tenant would
//! learn of it only by not getting in.
//!
//! Formats: sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; the blob is RFC 4253, section 6.6, with RFC
//! 5656 (ECDSA), RFC 8709 (Ed25519) and OpenSSH's PROTOCOL.u2f (security keys).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::problem::Refusal;

/// The longest line, in bytes: an RSA key of 16,384 bits has less than 3,000.
const MAX_LINE: usize = 8192;

/// Key types that today's sshd accepts, with the number of fields that follow the type's name in
/// the blob.
const TYPES: [(&str, usize); 7] = [
    ("ssh-ed25519", 1),
    ("ssh-rsa", 2),
    ("ecdsa-sha2-nistp256", 2),
    ("ecdsa-sha2-nistp384", 2),
    ("ecdsa-sha2-nistp521", 2),
    ("sk-ssh-ed25519@openssh.com", 2),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
];

/// The key as one line, `type blob comment`, if it is one. A private key is not repeated in the
/// error.
pub(super) fn check(text: &str) -> Result<String, Refusal> {
    if text.contains("PRIVATE KEY") || text.contains("PuTTY-User-Key-File") {
        return Err(refuse(
            "This is a private key. Nothing of it was kept, but it has travelled here.",
        )
        .remedy(
            "Send the public one (the file that ends in .pub), and consider making a new pair.",
        ));
    }
    let line = text.trim();
    if line.len() > MAX_LINE || line.chars().any(char::is_control) {
        return Err(refuse("A public key is one line of at most 8192 bytes."));
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
        return Err(refuse(
            "This is not a public key line: type, key and maybe a comment.",
        ));
    };
    let fields = TYPES
        .iter()
        .find(|(name, _)| *name == kind)
        .ok_or_else(|| {
            refuse("Servers take no key of this type.").remedy(
                "Make one with `ssh-keygen -t ed25519`. Options before the type are not taken.",
            )
        })?;
    let bytes = STANDARD
        .decode(blob)
        .map_err(|_| refuse("The key's second word is not base64."))?;
    let sound = read_blob(&bytes).is_some_and(|parts| {
        parts.len() == fields.1 + 1
            && parts.iter().all(|part| !part.is_empty())
            && parts[0] == kind.as_bytes()
            && is_sound(kind, &parts)
    });
    if !sound {
        return Err(refuse(
            "The key is damaged: its second word is not a key of the type it says.",
        ));
    }
    let comment: Vec<_> = words.collect();
    Ok(format!("{kind} {blob} {}", comment.join(" "))
        .trim_end()
        .to_owned())
}

/// The strings of a blob: each four bytes of length and so many bytes (RFC 4251, section 5).
fn read_blob(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

/// Whether the key itself has the size that its type demands. (sshd refuses RSA below 1,024 bits,
/// and by default below 2,048 nobody should ask.)
fn is_sound(kind: &str, parts: &[&[u8]]) -> bool {
    match kind {
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => parts[1].len() == 32,
        "ssh-rsa" => {
            let modulus = parts[2].strip_prefix(&[0]).unwrap_or(parts[2]);
            (256..=2048).contains(&modulus.len())
        }
        // Curve name, then the point, uncompressed: 4, X, Y.
        _ => {
            let curve = kind
                .trim_start_matches("sk-")
                .trim_start_matches("ecdsa-sha2-");
            let curve = curve.trim_end_matches("@openssh.com");
            let size = match curve {
                "nistp256" => 32,
                "nistp384" => 48,
                _ => 66,
            };
            parts[1] == curve.as_bytes() && parts[2].len() == 2 * size + 1 && parts[2][0] == 4
        }
    }
}

fn refuse(detail: &str) -> Refusal {
    Refusal::invalid("public_key", detail)
        .remedy("Send the line in ~/.ssh/id_ed25519.pub, or make a key with `ssh-keygen`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R";

    fn blob(parts: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        STANDARD.encode(bytes)
    }

    #[test]
    fn keys_of_every_type_are_read() {
        assert_eq!(
            check(&format!(" {ED25519}  me@home \n")).unwrap(),
            format!("{ED25519} me@home")
        );
        assert_eq!(check(ED25519).unwrap(), ED25519);
        let rsa = blob(&[
            b"ssh-rsa",
            &[1, 0, 1],
            &[[0].as_slice(), &[0x80; 256]].concat(),
        ]);
        assert!(check(&format!("ssh-rsa {rsa}")).is_ok());
        let point = [[4].as_slice(), &[7; 64]].concat();
        let ecdsa = blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]);
        assert!(check(&format!("ecdsa-sha2-nistp256 {ecdsa}")).is_ok());
        let kind = "sk-ecdsa-sha2-nistp256@openssh.com";
        let security_key = blob(&[kind.as_bytes(), b"nistp256", &point, b"ssh:"]);
        assert!(check(&format!("{kind} {security_key}")).is_ok());
    }

    #[test]
    fn everything_else_is_refused() {
        let small = blob(&[b"ssh-rsa", &[1, 0, 1], &[0x80; 128]]);
        let other = blob(&[b"ssh-rsa", &[7; 32]]);
        let curve = blob(&[b"ecdsa-sha2-nistp256", b"nistp384", &[4; 65]]);
        for wrong in [
            "",
            "ssh-ed25519",
            "ssh-dss AAAA",
            "ssh-ed25519 ????",
            "ssh-ed25519 AAAA",
            &ED25519[..60],
            &format!("ssh-rsa {small}"),
            &format!("ssh-ed25519 {other}"),
            &format!("ecdsa-sha2-nistp256 {curve}"),
            &format!("command=\"x\" {ED25519}"),
            &format!("{ED25519}\n{ED25519}"),
            &"a".repeat(9000),
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_private_key_is_not_repeated() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted\n-----END OPENSSH PRIVATE KEY-----";
        let document = check(key).unwrap_err().document(String::new());
        assert!(document.detail.contains("private key"));
        assert!(
            !serde_json::to_string(&document)
                .unwrap()
                .contains("planted")
        );
    }
}
