//! `--json`: an object a line, for programs, which need not have read all of them to begin.

use std::{borrow::Cow, os::unix::ffi::OsStrExt, path::Path};

use chain::Result;
use serde::Serialize;

use crate::changes::{Change, Kind};

/// What is not known or not there is null.
#[derive(Serialize)]
struct Line<'a> {
    change: &'static str,
    path: Cow<'a, str>,
    path_bytes: Option<&'a [u8]>,
    from: Option<Cow<'a, str>>,
    from_bytes: Option<&'a [u8]>,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    lower_type: Option<&'static str>,
    size: Option<u64>,
    lower_size: Option<u64>,
}

impl<'a> From<&'a Change> for Line<'a> {
    fn from(change: &'a Change) -> Self {
        let now = (change.kind != Kind::Removed).then_some(&change.entry.stat);
        let lower = change.lower.as_ref().map(|lower| &lower.stat);
        Self {
            change: match change.kind {
                Kind::Added => "added",
                Kind::Changed => "changed",
                Kind::Removed => "removed",
                Kind::Replaced => "replaced",
                Kind::Metadata => "metadata",
            },
            path: change.path.to_string_lossy(),
            path_bytes: not_text(&change.path),
            from: change.from.as_ref().map(|from| from.to_string_lossy()),
            from_bytes: change.from.as_deref().and_then(not_text),
            kind: now.map(|stat| stat.kind.name()),
            lower_type: lower.map(|stat| stat.kind.name()),
            size: now.map(|stat| stat.size),
            lower_size: lower.map(|stat| stat.size),
        }
    }
}

/// The bytes of a name that is not UTF-8, which a string of JSON cannot hold.
fn not_text(path: &Path) -> Option<&[u8]> {
    path.to_str().is_none().then(|| path.as_os_str().as_bytes())
}

/// The changes, one a line.
pub(super) fn lines(changes: &[Change]) -> Result<String> {
    changes.iter().map(|change| chain::json(&Line::from(change))).collect()
}
