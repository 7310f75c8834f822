//! The groups that a process is in, as a link: NEXT is held to the same limits.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
};

use chain::{Doing, Error, Launch, Link, Remedy, Result};
use nix::errno::Errno;

use crate::{
    hierarchy::{self, Version},
    process,
};

/// NEXT in the groups of a process.
#[derive(Debug)]
pub struct Joined {
    pid: u32,
    doors: Vec<(PathBuf, File)>,
}

impl Joined {
    /// A link that puts NEXT into the groups that the process is in then.
    pub fn new(pid: u32) -> Self {
        Self { pid, doors: Vec::new() }
    }
}

impl Link for Joined {
    fn name(&self) -> &'static str {
        "cg-set"
    }

    fn words(&self) -> Vec<OsString> {
        vec!["--of".into(), self.pid.to_string().into()]
    }

    fn steps(&self) -> Vec<String> {
        vec![format!("move the command into the groups of process {}", self.pid)]
    }

    /// Opens the groups that are not the caller's own.
    fn prepare(&mut self, _launch: &mut Launch) -> Result<()> {
        let own = hierarchy::of("self")?;
        let theirs = hierarchy::of(&self.pid.to_string()).map_err(|error| match error.errno() {
            Some(Errno::ENOENT) => Error::new(format!("--of {}", self.pid), "there is no such process"),
            _ => error,
        })?;
        // One that has ended is in the group at the root, where nothing is limited.
        if process::has_ended(self.pid) {
            return Err(Error::new(format!("--of {}", self.pid), "it has ended"));
        }
        for (version, dir) in theirs.into_iter().filter(|place| !own.contains(place)) {
            let file = dir.join(if version == Version::V1 { "tasks" } else { "cgroup.procs" });
            let door = OpenOptions::new().write(true).open(&file);
            let door = door.doing(|| format!("open the group {}", dir.display()));
            self.doors
                .push((dir, door.remedy(Errno::EACCES, "run as root, or as the user it was delegated to")?));
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        for (dir, door) in &mut self.doors {
            door.write_all(b"0").doing(|| format!("move the command into the group {}", dir.display()))?;
        }
        Ok(())
    }
}
