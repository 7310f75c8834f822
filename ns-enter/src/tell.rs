//! Telling others about the child before it becomes NEXT: a pid file, and a line of JSON.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

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

/// Writes the line, and closes the descriptor.
pub(crate) fn info(fd: OwnedFd, child: Pid) -> Result<()> {
    let doing = || "tell on --info-fd".to_owned();
    let mut namespaces = BTreeMap::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_known_here()) {
        let found = fs::metadata(kind.file(child)).doing(doing)?;
        namespaces.insert(kind.name(), found.ino());
    }
    let info = Info { pid: child.as_raw(), namespaces };
    let line = serde_json::to_string(&info).map_err(std::io::Error::from).doing(doing)?;
    File::from(fd).write_all((line + "\n").as_bytes()).doing(doing)
}

/// Writes the pid file.
pub(crate) fn pid_file(file: &Path, child: Pid) -> Result<()> {
    fs::write(file, format!("{child}\n")).doing(|| format!("--pid-file {}", file.display()))
}

/// Removes it, unless it is somebody else's by now.
pub(crate) fn remove_pid_file(file: &Path, child: Pid) -> Result<()> {
    if fs::read_to_string(file).is_ok_and(|text| text == format!("{child}\n")) {
        fs::remove_file(file).doing(|| format!("--pid-file {}", file.display()))?;
    }
    Ok(())
}
