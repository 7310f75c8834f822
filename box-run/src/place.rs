//! Where the box's root is put together. Only the box's processes see that mount, so any directory
//! will do that hides nothing which is still needed: nothing is made, and nothing is left.
//!
//! Layers are opened before the mount covers the place, so they may lie in it. What is bound is
//! looked up after, so it may not; nor may the place lie in it, where the box would see its own root.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chain::{Error, Result};
use ovl_mount::Layers;
use root_enter::{Bind, Entries, Entry, From};

/// Directories that the Filesystem Hierarchy Standard 3.0 gives every machine and that are rarely used.
const USUAL: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];

/// The first usual directory that is apart from all that is bound, or else the lowest layer itself.
pub(crate) fn choose(layers: &Layers, entries: &Entries) -> Result<PathBuf> {
    let bound: Vec<_> = entries.0.iter().filter_map(source).map(real).collect();
    let lowest = layers.lower.last().map(PathBuf::as_path);
    let mut places = USUAL.iter().map(Path::new).filter(|place| place.is_dir()).chain(lowest);
    places.find(|place| is_apart(&real(place), &bound)).map(Path::to_path_buf).ok_or_else(|| {
        let why = format!(
            "each of {} and the lowest layer is bound, holds what is bound, or lies in it, or is not there",
            USUAL.join(", ")
        );
        Error::new("no place to put the root together", why)
            .hint("make an empty directory /media or bind less than /")
    })
}

/// Another usual directory than the place of the root, and apart from it.
pub(crate) fn another(place: &Path) -> Result<PathBuf> {
    let apart = |other: &&Path| other.is_dir() && is_apart(&real(other), &[real(place)]);
    USUAL.iter().map(Path::new).find(apart).map(Path::to_path_buf).ok_or_else(|| {
        let why = format!("none of {} is there, besides that of the root", USUAL.join(", "));
        Error::new("--print: no place for what is bound", why).hint("make an empty directory /media")
    })
}

/// What is looked up on the host after the place is covered. Descriptors are not, and neither is the text of
/// files.
fn source(entry: &Entry) -> Option<&Path> {
    match entry {
        Entry::Bind(Bind { from: From::Path(path) | From::Real(path) | From::Mounted(path), .. }) => {
            Some(path)
        }
        _ => None,
    }
}

/// A mount on `/` itself would be seen by nobody.
fn is_apart(place: &Path, bound: &[PathBuf]) -> bool {
    place != Path::new("/") && !bound.iter().any(|path| path.starts_with(place) || place.starts_with(path))
}

/// The path without links; as it was given if it cannot be found, which is reported later.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_apart_from_what_is_bound() {
        for (place, bound, apart) in [
            ("/mnt", "/srv/a", true),
            ("/mnt", "/mnt2", true),
            ("/mnt", "/mnt", false),
            ("/mnt", "/mnt/a/b", false),
            ("/srv/root", "/srv", false),
            ("/mnt", "/", false),
            ("/", "/srv", false),
        ] {
            assert_eq!(is_apart(Path::new(place), &[bound.into()]), apart, "{place} {bound}");
        }
    }
}
