//! Where one JSON message ends and the next begins.
//!
//! RFC 7047 sends messages back to back with nothing in between, and a stream cuts them anywhere.
//! So brackets are counted, each byte looked at once, however small the pieces come.

/// What cannot be a stream of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Something other than a JSON object begins.
    NotAnObject,
    /// A message does not end within the limit.
    TooLong,
}

/// Cuts a byte stream into JSON objects. Whether they are well-formed inside is for the JSON
/// parser to say.
#[derive(Debug)]
pub(super) struct Splitter {
    buffer: Vec<u8>,
    /// How much of the buffer has been looked at.
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    longest: usize,
}

impl Splitter {
    /// For messages of at most `longest` bytes.
    pub(super) fn new(longest: usize) -> Self {
        Self {
            buffer: Vec::new(),
            scanned: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            longest,
        }
    }

    /// Takes what has been received.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        if self.depth == 0 {
            self.skip_blanks()?;
        }
        while self.scanned < self.buffer.len() {
            if self.scanned >= self.longest {
                return Err(Malformed::TooLong);
            }
            let byte = self.buffer[self.scanned];
            self.scanned += 1;
            if self.closes_message(byte) {
                let rest = self.buffer.split_off(self.scanned);
                self.scanned = 0;
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
        }
        Ok(None)
    }

    fn skip_blanks(&mut self) -> Result<(), Malformed> {
        let blanks = self
            .buffer
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        self.buffer.drain(..blanks);
        match self.buffer.first() {
            None | Some(b'{') => Ok(()),
            Some(_) => Err(Malformed::NotAnObject),
        }
    }

    fn closes_message(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = br#"{"a":"}{\"\\"} {"b":[1,{"c":"]"}]}
{}"#;

    fn split(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
        let mut splitter = Splitter::new(64);
        let mut messages = Vec::new();
        for piece in pieces {
            splitter.push(&piece);
            while let Some(message) = splitter.next().unwrap() {
                messages.push(String::from_utf8(message).unwrap());
            }
        }
        messages
    }

    #[test]
    fn pieces_of_any_size_give_the_same_messages() {
        let expected = [r#"{"a":"}{\"\\"}"#, r#"{"b":[1,{"c":"]"}]}"#, "{}"];
        for size in 1..=STREAM.len() {
            assert_eq!(
                split(STREAM.chunks(size).map(<[u8]>::to_vec)),
                expected,
                "{size}"
            );
        }
    }

    #[test]
    fn the_end_of_a_message_must_come() {
        let mut splitter = Splitter::new(8);
        splitter.push(br#"{"a":12"#);
        assert_eq!(splitter.next(), Ok(None));
        splitter.push(b"3456");
        assert_eq!(splitter.next(), Err(Malformed::TooLong));
        // The limit is for one message, not for what is received at once.
        let mut splitter = Splitter::new(8);
        splitter.push(br#"{"a":1}{"b":2}{"c":3}"#);
        for _ in 0..3 {
            assert!(splitter.next().unwrap().is_some());
        }
        assert_eq!(splitter.next(), Ok(None));
    }

    #[test]
    fn only_objects_begin_messages() {
        for garbage in [&b"SSH-2.0"[..], b"[]", b"\0", b" \n x"] {
            let mut splitter = Splitter::new(64);
            splitter.push(garbage);
            assert_eq!(splitter.next(), Err(Malformed::NotAnObject));
        }
    }
}
