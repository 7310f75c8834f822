//! The pid file: whole from the moment when it is there, locked for as long as the box lives.
//!
//! The lock (`F_SETLK` of fcntl(2)) is the supervisor's alone, and the kernel gives it up when that ends, however it
//! does. So a file without a lock was left by one that was killed, and who has the lock is who wrote the file.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result};
use nix::{errno::Errno, fcntl::OFlag, unistd::Pid};
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, fcntl_lock, renameat_with},
    io,
    process::{Flock, FlockType, fcntl_getlk},
};

/// A pid file that was made, and goes with NEXT.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Has the lock. No other descriptor of this file may be closed by this process: that would end the lock.
    file: File,
}

impl PidFile {
    /// Fails if another process has a lock on the file.
    pub(crate) fn check_free(path: &Path) -> Result<()> {
        match open(path).map(|left| Self::holder(&left)) {
            Ok(Ok(Some(holder))) => Err(taken(path, holder)),
            // What else is wrong with it is told when it is made.
            _ => Ok(()),
        }
    }

    /// The supervisor of a box that lives, by its pid file, opened in whatever way; 0 if it is in another pid namespace.
    pub fn holder(file: &File) -> io::Result<Option<i32>> {
        // Only a lock of who may write the file is in the way of this one.
        let found = fcntl_getlk(file, &Flock::from(FlockType::ReadLock))?;
        Ok(found.map(|lock| lock.pid.map_or(0, rustix::process::Pid::as_raw_pid)))
    }

    /// Makes the pid file, or takes the place of one that was left. What is no regular file, such as a fifo or /dev/stdout,
    /// is written to and stays; nothing is waited for.
    pub(crate) fn make(path: &Path, child: Pid) -> Result<Option<Self>> {
        let doing = || doing(path);
        let line = format!("{child}\n");
        let is_plain = match fs::symlink_metadata(path) {
            Ok(found) => found.is_file(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if !is_plain {
            let mut open = OpenOptions::new();
            open.write(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
            let written = open.open(path).and_then(|mut file| file.write_all(line.as_bytes()));
            return written.doing(doing).remedy(Errno::ENXIO, "nobody reads it").map(|()| None);
        }
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{child}"));
        let new = path.with_file_name(name);
        // Who may open it may lock it, and so keep others from taking its place when it was left.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).doing(doing)?;
        let written = file.write_all(line.as_bytes()).doing(doing);
        let locked = written.and_then(|()| {
            fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
                .doing(|| format!("lock {}", path.display()))
        });
        match locked.and_then(|()| put(&new, path)) {
            Ok(()) => Ok(Some(Self { path: path.into(), file })),
            Err(error) => {
                let _ = fs::remove_file(&new);
                Err(error)
            }
        }
    }

    /// Removes it, unless it is somebody else's by now.
    pub(crate) fn remove(self) -> Result<()> {
        let removed = if is_at(&self.file, &self.path) { fs::remove_file(&self.path) } else { Ok(()) };
        removed.doing(|| doing(&self.path))
    }
}

/// Gives the new file its name, unless another one has it that is locked.
fn put(new: &Path, path: &Path) -> Result<()> {
    let doing = || doing(path);
    loop {
        match name_it(new, path) {
            Err(io::Errno::EXIST) => {}
            named => return named.doing(doing),
        }
        let left = match open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            left => left.doing(doing)?,
        };
        match fcntl_lock(&left, FlockOperation::NonBlockingLockExclusive) {
            Err(io::Errno::AGAIN | io::Errno::ACCESS) => {
                // Its box may have ended since.
                let Some(holder) = PidFile::holder(&left).doing(doing)? else { continue };
                return Err(taken(path, holder));
            }
            locked => locked.doing(doing)?,
        }
        // Whoever takes the place of a file has locked it, so if it is still there it is ours to replace.
        if is_at(&left, path) {
            return fs::rename(new, path).doing(doing);
        }
    }
}

/// Not every filesystem has the first.
fn name_it(new: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        Err(io::Errno::INVAL) => {
            rustix::fs::link(new, path)?;
            rustix::fs::unlink(new)
        }
        named => named,
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(found), Ok(own)) = (fs::symlink_metadata(path), file.metadata()) else { return false };
    (found.dev(), found.ino()) == (own.dev(), own.ino())
}

fn taken(path: &Path, holder: i32) -> Error {
    let who = if holder == 0 { "another process".to_owned() } else { format!("process {holder}") };
    Error::new(doing(path), format!("{who} has it for a command that runs"))
        .hint("end that, or name another file")
}

fn doing(path: &Path) -> String {
    format!("--pid-file {}", path.display())
}
