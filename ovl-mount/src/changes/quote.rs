//! Names on lines, so that each can be told from every other and no terminal obeys one.

use std::{fmt::Write, os::unix::ffi::OsStrExt, path::Path};

/// What stands between a name and the one that it had before.
pub(crate) const FROM: &str = " <- ";

/// A name as it is, or in double quotes and with C's escapes if it holds a control character, a quote, a
/// backslash, bytes that are not UTF-8, or an arrow: as git(1) and diff(1) write it.
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |text: &&str| {
        !text.contains(|c: char| c.is_control() || c == '"' || c == '\\') && !text.contains(FROM)
    };
    if let Some(plain) = std::str::from_utf8(bytes).ok().filter(is_plain) {
        return plain.to_owned();
    }
    let mut line = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => line.extend(['\\', c]),
                '\n' => line.push_str("\\n"),
                '\t' => line.push_str("\\t"),
                '\r' => line.push_str("\\r"),
                c if c.is_control() => octal(&mut line, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => line.push(c),
            }
        }
        octal(&mut line, chunk.invalid());
    }
    line.push('"');
    line
}

fn octal(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(line, "\\{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn only_what_would_be_mistaken_is_quoted() {
        let quoted = |bytes: &[u8]| quoted(OsStr::from_bytes(bytes).as_ref());
        assert_eq!(quoted(b"a b/\xc3\xa4'c"), "a b/ä'c");
        assert_eq!(quoted(b"a\nb\x1b[0m\\\"\xff"), r#""a\nb\033[0m\\\"\377""#);
        assert_eq!(quoted(b"a <- b"), "\"a <- b\"");
        assert_eq!(quoted("\u{85}".as_bytes()), r#""\302\205""#);
    }
}
