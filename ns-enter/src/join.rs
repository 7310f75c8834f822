//! Joining a namespace that exists: its file is opened before anything is made, so that a process
//! that has ended is an early and clear error.

use std::{fs::File, path::PathBuf};

use chain::{Doing, Remedy, Result};
use nix::{errno::Errno, sched::setns};

use crate::args::{Kind, Target};

/// A namespace file that is open, and so keeps its namespace alive (namespaces(7)).
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) kind: Kind,
    path: PathBuf,
    file: File,
}

impl Joined {
    pub(crate) fn open(kind: Kind, target: &Target) -> Result<Self> {
        let path = match target {
            Target::Process(pid) => format!("/proc/{pid}/ns/{kind}").into(),
            Target::File(path) => path.clone(),
        };
        let opened = File::open(&path).doing(|| format!("join the {kind} namespace {}", path.display()));
        let opened = match target {
            Target::Process(pid) => opened
                .remedy(Errno::ENOENT, &format!("is there a process {pid}?"))
                .remedy(Errno::EACCES, "run as root, or as the owner of that process"),
            Target::File(_) => opened,
        };
        Ok(Self { kind, file: opened?, path })
    }

    /// Fails with EINVAL if the file is not a namespace of this kind.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.file, self.kind.flag())
            .doing(|| format!("join the {} namespace {}", self.kind, self.path.display()))
            .remedy(Errno::EPERM, "run as root")
            .remedy(Errno::EINVAL, &format!("the file must be a {} namespace", self.kind))
    }
}
