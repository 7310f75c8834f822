//! What was changed in the directory after the overlay had taken it from there: to apply the change would undo the
//! other one.

use std::{collections::BTreeSet, path::PathBuf};

use chain::{Error, Result};

use crate::changes::{Change, FileKind, Time, quoted};

/// Fails if there are such, and says which.
pub(super) fn refuse(found: &[Change], newer: &[PathBuf]) -> Result<()> {
    let own = found.iter().filter(|change| is_one(change)).map(|change| &change.path);
    let conflicts: BTreeSet<_> = own.chain(newer).collect();
    for path in &conflicts {
        let why = "it was changed in the directory after the overlay took it";
        chain::note("ovl-commit", &format!("{}: {why}", quoted(path)));
    }
    match conflicts.len() {
        0 => Ok(()),
        count => Err(Error::new(format!("conflicts: {count}"), "nothing was changed")
            .hint("--force applies the changes all the same, --exclude leaves some out")),
    }
}

/// When the file in the upper directory was made is when the overlay took, removed or made it. A directory's time
/// says that there is an entry more or less in it, and they are looked at one by one.
fn is_one(change: &Change) -> bool {
    let stat = &change.entry.stat;
    let taken: Time = stat.btime.unwrap_or(stat.ctime);
    let (is_directory, marks) = (stat.kind == FileKind::Directory, &change.entry.marks);
    let is_none_now = change.lower.as_ref().is_some_and(|lower| lower.stat.kind != FileKind::Directory);
    // A directory with a redirect was taken from another place, and came here instead of what there was.
    let is_moved_here = marks.redirect.is_some() && is_none_now;
    // What was a directory when the overlay took it over, and is none any more.
    if is_directory && !marks.opaque && !is_moved_here && is_none_now {
        return true;
    }
    let is_whole = !is_directory || marks.opaque || is_moved_here;
    // What has the same time was applied by a run before this.
    let is_other = |time: Time| time > taken && time != stat.mtime;
    is_whole && change.lower.as_ref().is_some_and(|lower| is_other(lower.stat.mtime))
}
