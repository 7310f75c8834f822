//! Files that have several names in the layers below, and stay one file with `--index`: what is changed by one name is
//! changed under all, but the upper directory has those only by which it was reached.

use std::path::Path;

use chain::{Error, Result};

use super::{Change, Entry, FileKind, Stat};

/// Fails for changes of which the upper directory does not tell all.
pub(crate) fn check_all(found: &[Change]) -> Result<()> {
    found.iter().try_for_each(|change| {
        check(&change.path, &change.entry, change.lower.as_ref().map(|lower| &lower.stat))
    })
}

/// The same for one file, of which the layers below have `lower` there, if that is known.
pub(crate) fn check(path: &Path, entry: &Entry, lower: Option<&Stat>) -> Result<()> {
    let is_indexed = entry.marks.names.is_some() && entry.stat.kind == FileKind::Regular;
    if is_indexed && lower.is_none_or(|lower| lower.nlink > 1) {
        let why = "it has other names, which only the index of the overlay knows";
        return Err(Error::new(path.display().to_string(), why).hint("make such changes without --index"));
    }
    Ok(())
}
