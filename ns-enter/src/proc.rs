//! The caller's /proc, and one for a new pid namespace.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use chain::{
    Doing, Error, Remedy, Result,
    mount::{attach, new_proc, open_dir},
};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, openat};

/// The caller's /proc, opened before a mount namespace is joined in which /proc is another. Whoever
/// asks is `self` in it, also in a pid namespace below the caller's.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

impl Proc {
    pub(crate) fn open() -> Result<Self> {
        open_dir(Path::new("/proc")).doing(|| "open /proc".into()).map(Self)
    }

    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        let mut text = Vec::new();
        self.file(path, OFlags::RDONLY)?.read_to_end(&mut text)?;
        // A process's name need not be UTF-8.
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// In one write(2), as the kernel demands of its switches.
    pub(crate) fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.file(path, OFlags::WRONLY)?.write_all(text.as_bytes())
    }

    fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        Ok(openat(self.0.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty())?.into())
    }
}

/// Fails if the numbers in /proc are not those by which this process knows its child.
pub(crate) fn check_is_ours() -> Result<()> {
    if chain::proc_is_ours() {
        return Ok(());
    }
    Err(Error::new("find the child in /proc", "/proc is missing, or is that of another pid namespace")
        .hint("mount one of this: where the pid namespace was made, add mnt"))
}

/// Mounts a new proc on a directory. The one on /proc would show, and name by wrong numbers, the
/// processes outside (pid_namespaces(7), "/proc and PID namespaces").
pub(crate) fn mount_on(place: &Path) -> Result<()> {
    let doing = || format!("mount a new proc on {}", place.display());
    let proc = new_proc().remedy(
        Errno::EPERM,
        "the pid namespace must be of the user namespace, and no part of /proc hidden here",
    )?;
    attach(proc, open_dir(place).doing(doing)?, place)
}
