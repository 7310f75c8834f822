//! Telling others about the child before it becomes NEXT, by a line of JSON.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

use chain::{Doing, Result};
use nix::unistd::Pid;
use serde::Serialize;

use crate::kind::Kind;

/// What the descriptor of --info-fd gets.
#[derive(Serialize)]
struct Info {
    /// The child as the supervisor sees it.
    pid: i32,
    /// The inode of each of its namespaces, by kind.
    namespaces: BTreeMap<&'static str, u64>,
}

/// The line.
pub(crate) fn info(child: Pid) -> Result<String> {
    let doing = || "tell on --info-fd".to_owned();
    let mut namespaces = BTreeMap::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_known_here()) {
        let found = fs::metadata(kind.file(child)).doing(doing)?;
        namespaces.insert(kind.name(), found.ino());
    }
    chain::json(&Info { pid: child.as_raw(), namespaces })
}
