//! One line a path.

use std::os::unix::ffi::OsStrExt;

use crate::changes::{Change, Kind, quote::FROM, quoted};

/// The letter that begins a line.
fn letter(kind: Kind) -> char {
    match kind {
        Kind::Added => 'A',
        Kind::Changed => 'C',
        Kind::Removed => 'D',
        Kind::Replaced => 'R',
        Kind::Metadata => 'M',
    }
}

/// For people, and for programs that read lines.
pub(crate) fn lines(changes: &[Change]) -> String {
    let mut text = String::with_capacity(64 * changes.len());
    for change in changes {
        text.extend([letter(change.kind), ' ']);
        text.push_str(&quoted(&change.path));
        if let Some(from) = &change.from {
            text.push_str(FROM);
            text.push_str(&quoted(from));
        }
        text.push('\n');
    }
    text
}

/// The letter, a space and the bytes of the name, with a zero byte at the end.
pub(super) fn raw(changes: &[Change]) -> Vec<u8> {
    let line = |change: &Change| {
        [letter(change.kind).to_string().as_bytes(), b" ", change.path.as_os_str().as_bytes(), b"\0"].concat()
    };
    changes.iter().flat_map(line).collect()
}
