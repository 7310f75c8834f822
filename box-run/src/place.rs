//! Where the box's root is put together. Only the box's processes see that mount, so any directory
//! will do that hides nothing which is still needed: nothing is made, and nothing is left.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ovl_mount::Layers;
use root_enter::Binds;

/// Directories that the Filesystem Hierarchy Standard 3.0 gives every machine and that are rarely used.
const USUAL: [&str; 3] = ["/mnt", "/media", "/srv"];

/// The first usual directory that holds nothing that is bound, or else the lowest layer itself.
pub(crate) fn choose(layers: &Layers, binds: &Binds) -> PathBuf {
    let bound: Vec<_> = binds.0.iter().map(|bind| real(&bind.from)).collect();
    let holds_bound = |place: &str| bound.iter().any(|path| path.starts_with(place));
    match USUAL.into_iter().find(|place| Path::new(place).is_dir() && !holds_bound(place)) {
        Some(place) => place.into(),
        None => layers.lower.last().cloned().unwrap_or_default(),
    }
}

/// The path without links; as it was given if it cannot be found, which is reported later.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.into())
}
