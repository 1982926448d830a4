//! Reading JSON that may lack anything or hold it in the wrong type.
//!
//! Nearly every property of Redfish's schemas is optional, and makers leave out, null, pad and
//! misspell what is not. So resources are not decoded into structures, where one odd member would
//! spoil the rest, but asked member by member.

use std::sync::Arc;

use serde_json::Value;

/// Messages of one error answer that are shown.
const MOST_MESSAGES: usize = 4;

/// Characters of one name, model, serial number or path that are kept.
const LONGEST_TEXT: usize = 512;

/// Texts of one array that are kept.
const MOST_TEXTS: usize = 256;

/// Characters of one message that are shown.
const LONGEST_MESSAGE: usize = 300;

/// A resource as read. Clones share what it says.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) path: String,
    pub(super) value: Arc<Value>,
    etag: Option<String>,
}

impl Resource {
    /// `etag` is the answer's header; where that is missing, the resource may hold it.
    pub(super) fn new(path: &str, value: Value, etag: Option<&str>) -> Self {
        let etag = etag.or_else(|| value.get("@odata.etag").and_then(Value::as_str));
        Self {
            path: path.to_owned(),
            etag: etag.map(str::to_owned),
            value: Arc::new(value),
        }
    }

    /// The ETag to send as `If-Match`. Weak ones (`W/…`) never match there (RFC 9110, section
    /// 13.1.1), so they are not sent.
    pub(super) fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }

    /// The ETag as it came.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// The last part of the path: the resource's `Id` where a member does not say.
    pub(super) fn id(&self) -> &str {
        text(&self.value, "/Id").unwrap_or_else(|| last_segment(&self.path))
    }
}

/// The last part of a path.
pub(super) fn last_segment(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

/// A JSON object, and nothing else.
pub(super) fn parse(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

/// Where a reference object points (DSP0266, section 9.3).
pub(super) fn link(value: &Value) -> Option<&str> {
    value.get("@odata.id").and_then(Value::as_str)
}

/// A text that says something, without the blanks some makers pad with. `pointer` is a JSON
/// pointer (RFC 6901).
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    let text = value.pointer(pointer)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Such a text, to be kept. An inventory has hundreds: a BMC that pads each with megabytes must not
/// have us keep them.
pub(super) fn words(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).map(short)
}

/// The beginning of a text: more than any name that makes sense.
pub(super) fn short(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

/// A whole number that is not negative and not zero: makers write 0 for *unknown*.
pub(super) fn number(value: &Value, pointer: &str) -> Option<u64> {
    value
        .pointer(pointer)?
        .as_u64()
        .filter(|number| *number > 0)
}

/// The texts of an array; of each the beginning, as for [`words`].
pub(super) fn texts(value: &Value) -> Vec<String> {
    let array = value.as_array().into_iter().flatten();
    let texts = array.filter_map(Value::as_str).take(MOST_TEXTS);
    texts.map(short).collect()
}

/// Whether a slot is empty (`Status.State`, DSP0268).
pub(super) fn is_absent(value: &Value) -> bool {
    text(value, "/Status/State") == Some("Absent")
}

/// What an error answer (DSP0266, section 8.6) or a task says for people, ready to be appended to
/// a sentence; empty if it says nothing.
pub(super) fn messages(value: &Value) -> String {
    let extended = value
        .pointer("/error/@Message.ExtendedInfo")
        .or_else(|| value.get("@Message.ExtendedInfo"))
        .or_else(|| value.get("Messages"))
        .and_then(Value::as_array);
    let mut messages: Vec<String> = extended
        .into_iter()
        .flatten()
        .filter_map(message)
        .take(MOST_MESSAGES)
        .collect();
    if messages.is_empty() {
        messages.extend(text(value, "/error/message").map(printable));
    }
    if messages.is_empty() {
        String::new()
    } else {
        format!(": {}", messages.join(" "))
    }
}

/// One message; where it has no words, its name and what it is about.
fn message(info: &Value) -> Option<String> {
    if let Some(words) = text(info, "/Message") {
        return Some(printable(words));
    }
    let about = ["MessageArgs", "RelatedProperties"];
    let about = about
        .iter()
        .filter_map(|name| info.get(name))
        .flat_map(texts);
    let parts: Vec<_> = text(info, "/MessageId")
        .map(str::to_owned)
        .into_iter()
        .chain(about)
        .collect();
    (!parts.is_empty()).then(|| printable(&parts.join(" ")))
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(LONGEST_MESSAGE)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_members_read_as_missing() {
        let value = json!({"Model": "  R750 ", "Empty": " ", "Number": 7, "Zero": 0, "Null": null});
        assert_eq!(text(&value, "/Model"), Some("R750"));
        for pointer in ["/Empty", "/Number", "/Null", "/Gone", "/Model/Deeper"] {
            assert_eq!(text(&value, pointer), None, "{pointer}");
        }
        assert_eq!(number(&value, "/Number"), Some(7));
        for pointer in ["/Zero", "/Model", "/Null", "/Gone"] {
            assert_eq!(number(&value, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn weak_etags_are_not_sent() {
        let body = json!({"@odata.etag": "\"b\""});
        let header = Resource::new("/a", body.clone(), Some("\"h\""));
        assert_eq!(header.strong_etag(), Some("\"h\""));
        assert_eq!(Resource::new("/a", body, None).strong_etag(), Some("\"b\""));
        assert_eq!(
            Resource::new("/a", json!({}), Some("W/\"w\"")).strong_etag(),
            None
        );
    }

    #[test]
    fn error_messages_are_short_and_printable() {
        let info: Vec<Value> = (0..9)
            .map(|_| json!({"Message": format!("a\u{1b}[31m{}", "b".repeat(999))}))
            .collect();
        let shown = messages(&json!({"error": {"@Message.ExtendedInfo": info}}));
        assert!(shown.len() < 1300 && !shown.contains('\u{1b}'), "{shown}");
        let plain = json!({"error": {"code": "x", "message": "No."}});
        assert_eq!(messages(&plain), ": No.");
        assert_eq!(messages(&json!({"error": 7})), "");
    }

    #[test]
    fn messages_without_words_say_what_they_are_about() {
        let info = json!([{"MessageId": "Base.1.4.ActionParameterUnknown",
            "MessageArgs": ["InsertMedia", "TransferMethod"], "RelatedProperties": ["#/A"]}]);
        let shown = messages(&json!({"error": {"@Message.ExtendedInfo": info}}));
        assert_eq!(
            shown,
            ": Base.1.4.ActionParameterUnknown InsertMedia TransferMethod #/A"
        );
    }
}
