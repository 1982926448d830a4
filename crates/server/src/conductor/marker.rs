//! Finding one line in what a machine writes to its serial console: bytes that come in any pieces,
//! between kernel messages, colours, cursor movements and line noise.

/// The longest escape sequence that is skipped; what goes on longer is text again.
const LONGEST_SEQUENCE: usize = 64;

const ESCAPE: u8 = 0x1b;

/// Where in an escape sequence (ECMA-48, sections 5.3 to 5.6) the stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, which ends with a byte from `@` to `~`.
    Sequence(usize),
    /// In an operating system command or the like, which ends with BEL or ESC `\`.
    String(usize),
}

/// Looks for a marker and cleans what it reads. Needs as much memory as the marker is long.
pub(super) struct Listener {
    marker: Vec<u8>,
    /// The last printable characters, at most as many as the marker has.
    last: Vec<u8>,
    place: Place,
}

/// What was heard.
pub(super) struct Heard {
    /// The text without control characters, except line feeds.
    pub(super) plain: Vec<u8>,
    /// Whether the marker was completed by it.
    pub(super) marker: bool,
}

impl Listener {
    /// Looks for `marker`, a line of printable characters.
    pub(super) fn new(marker: String) -> Self {
        Self {
            last: Vec::with_capacity(marker.len()),
            marker: marker.into_bytes(),
            place: Place::Text,
        }
    }

    /// Takes the next bytes in.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Heard {
        let mut heard = Heard {
            plain: Vec::with_capacity(bytes.len()),
            marker: false,
        };
        for byte in bytes {
            if self.is_text(*byte) {
                heard.marker |= self.take(*byte);
                if *byte == b'\n' || *byte >= b' ' && *byte != 0x7f {
                    heard.plain.push(*byte);
                }
            }
        }
        heard
    }

    /// Adds a character; whether it completes the marker.
    fn take(&mut self, byte: u8) -> bool {
        match byte {
            // A marker stands on one line.
            b'\n' => self.last.clear(),
            b' '..=b'~' => {
                if self.last.len() == self.marker.len() {
                    self.last.remove(0);
                }
                self.last.push(byte);
            }
            _ => {}
        }
        self.last == self.marker
    }

    /// Whether a byte is not part of an escape sequence.
    fn is_text(&mut self, byte: u8) -> bool {
        let (place, text) = match (self.place, byte) {
            (Place::Text, ESCAPE) => (Place::Escape, false),
            (Place::Text, _) => (Place::Text, true),
            (Place::Escape, b'[') => (Place::Sequence(0), false),
            (Place::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (Place::String(0), false),
            // Two characters, such as ESC 7; intermediate ones go on.
            (Place::Escape, b' '..=b'/') => (Place::Escape, false),
            (Place::Escape, ESCAPE) => (Place::Escape, false),
            (Place::Escape, b'\n') => (Place::Text, true),
            (Place::Escape, _) => (Place::Text, false),
            (Place::Sequence(_), b'@'..=b'~') => (Place::Text, false),
            (Place::Sequence(_) | Place::String(_), b'\n') => (Place::Text, true),
            (Place::Sequence(_) | Place::String(_), ESCAPE) => (Place::Escape, false),
            (Place::String(_), 0x07) => (Place::Text, false),
            (Place::Sequence(length) | Place::String(length), _) if length > LONGEST_SEQUENCE => {
                (Place::Text, true)
            }
            (Place::Sequence(length), _) => (Place::Sequence(length + 1), false),
            (Place::String(length), _) => (Place::String(length + 1), false),
        };
        self.place = place;
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKER: &str = "bessemer-up-0123456789abcdef";

    fn finds(pieces: &[&[u8]]) -> bool {
        let mut listener = Listener::new(MARKER.into());
        let heard = pieces.iter().map(|piece| listener.hear(piece).marker);
        heard.fold(false, |found, marker| found | marker)
    }

    #[test]
    fn the_marker_is_found_among_colours_and_noise() {
        let (first, second) = MARKER.as_bytes().split_at(11);
        for before in [
            &b""[..],
            b"[   12.3] nvme0: ready\r\n",
            b"\x1b[1;32m  OK  \x1b[0m",
            b"\xff\xfe\x00\x07\x1b",
            b"\x1b]0;title\x07",
            b"bessemer-up-0123",
            b"\x1b[\n",
        ] {
            assert!(
                finds(&[before, b"\r\n", first, second, b"\r\n"]),
                "{before:?}"
            );
            assert!(
                finds(&[before, b"\n", first, b"\x1b[0m\x00", second]),
                "{before:?}"
            );
        }
    }

    #[test]
    fn what_is_not_the_marker_is_not_found() {
        assert!(!finds(&[b"bessemer-up-0123456789abcdee\n"]));
        assert!(!finds(&[b"bessemer-up-\n0123456789abcdef\n"]));
        assert!(!finds(&[b"bessemer-up-01234567 89abcdef\n"]));
    }

    #[test]
    fn what_is_kept_for_people_is_plain() {
        let mut listener = Listener::new(MARKER.into());
        let heard = listener.hear(b"\x1b[2J\x1b[31mlogin:\x1b[0m \x07ok\r\n\x7f");
        assert_eq!(heard.plain, b"login: ok\n");
    }

    proptest! {
        #[test]
        fn it_is_found_however_it_is_cut(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut stream = noise;
            stream.extend(b"\n\n");
            stream.extend(MARKER.as_bytes());
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            prop_assert!(finds(&pieces));
        }
    }
}
