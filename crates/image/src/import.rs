//! Bringing an image in: fetched or read, checked against its digest, recognised by content,
//! converted to raw, mapped, and only then visible, all at once.
