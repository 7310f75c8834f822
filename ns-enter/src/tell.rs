//! Telling others about the child before it becomes NEXT: a pid file, and a line of JSON.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chain::{Doing, Remedy, Result};
use nix::{errno::Errno, fcntl::OFlag, unistd::Pid};
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

/// A pid file that was made, and goes with NEXT.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: PathBuf,
    /// Device and inode, by which it is told from what others have put in its place.
    id: (u64, u64),
}

/// Writes the pid file: whole from the moment when it is there, in place of one that was left. What is no
/// regular file, such as a fifo or /dev/stdout, is written to and stays; nothing is waited for.
pub(crate) fn pid_file(file: &Path, child: Pid) -> Result<Option<PidFile>> {
    let doing = || format!("--pid-file {}", file.display());
    let line = format!("{child}\n");
    let is_plain = match fs::symlink_metadata(file) {
        Ok(found) => found.is_file(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    if !is_plain {
        let mut open = OpenOptions::new();
        open.write(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
        let written = open.open(file).and_then(|mut file| file.write_all(line.as_bytes()));
        return written.doing(doing).remedy(Errno::ENXIO, "nobody reads it").map(|()| None);
    }
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{child}"));
    let new = file.with_file_name(name);
    let mut made = OpenOptions::new().write(true).create_new(true).open(&new).doing(doing)?;
    let id = made.write_all(line.as_bytes()).and_then(|()| made.metadata()).and_then(|found| {
        fs::rename(&new, file)?;
        Ok((found.dev(), found.ino()))
    });
    match id {
        Ok(id) => Ok(Some(PidFile { file: file.into(), id })),
        Err(error) => {
            let _ = fs::remove_file(&new);
            Err(error).doing(doing)
        }
    }
}

impl PidFile {
    /// Removes it, unless it is somebody else's by now.
    pub(crate) fn remove(self) -> Result<()> {
        match fs::symlink_metadata(&self.file) {
            Ok(found) if (found.dev(), found.ino()) == self.id => {
                fs::remove_file(&self.file).doing(|| format!("--pid-file {}", self.file.display()))
            }
            _ => Ok(()),
        }
    }
}
