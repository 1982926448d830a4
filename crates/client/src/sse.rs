//! Server-sent events, taken apart.
//!
//! Source: the HTML Living Standard, section 9.2.6, "Interpreting an event stream". Only `data` is
//! kept: the events of the API carry their own sequence number and kind, so `id` and `event` say
//! nothing new, and when to connect again is not the server's to decide (`retry`).

/// The longest event that is accepted, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// Takes the bytes of a stream in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    data: Option<String>,
    /// The last byte was a carriage return, which a line feed may complete.
    after_return: bool,
    /// The first line, which may open with a byte order mark, has been read.
    begun: bool,
}

impl Parser {
    /// The data of the events that `bytes` complete.
    ///
    /// # Errors
    /// When an event is longer than the number of bytes given as the error.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, usize> {
        let mut complete = Vec::new();
        for &byte in bytes {
            let completes_return = self.after_return && byte == b'\n';
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if completes_return => {}
                b'\n' | b'\r' => complete.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MOST_BYTES {
                return Err(MOST_BYTES);
            }
        }
        Ok(complete)
    }

    /// The data of an event, if the line was the empty one that ends it.
    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let mut line = line.as_ref();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.data.take();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nid: 1\nevent: node.state\ndata: {\"a\":1}\n\n\
        data:first\r\ndata: second\r\rretry: 10\r\n\r\ndata\n\ndata: a \u{e4}\n\ndata: unfinished";

    const EVENTS: [&str; 4] = ["{\"a\":1}", "first\nsecond", "", "a \u{e4}"];

    #[test]
    fn events_are_the_same_in_whatever_pieces_they_come() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                seen.extend(parser.push(piece).unwrap());
            }
            assert_eq!(seen, EVENTS, "pieces of {size} bytes");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let refused = (0..2000).find_map(|_| parser.push(&line).err());
        assert_eq!(refused, Some(MOST_BYTES));

        let mut parser = Parser::default();
        assert_eq!(parser.push(&vec![b'x'; MOST_BYTES + 1]), Err(MOST_BYTES));
    }
}
