//! One process in /proc: its namespaces, and what it runs.

use std::{fs::File, io::Read, mem::MaybeUninit, os::fd::OwnedFd};

use chain::{Error, Result, errno};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, fstat},
};
use rustix::fs::readlinkat_raw;

use crate::{kind::Kind, nsfs};

/// The namespaces that children will be born in, which can be others than the process's own.
const FOR_CHILDREN: [(&str, Kind); 2] = [("pid_for_children", Kind::Pid), ("time_for_children", Kind::Time)];

/// The open directory /proc/PID/ns (proc_pid_ns(5)): what it tells is never of another process that
/// got the same pid.
pub(super) struct Process {
    pid: u32,
    dir: OwnedFd,
}

impl Process {
    pub(super) fn open(pid: u32) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(format!("/proc/{pid}/ns").as_str(), flags, Mode::empty())?;
        Ok(Self { pid, dir })
    }

    /// The number of the namespace behind the file of this name. The link is read, which takes half
    /// the time of stat(2) and is allowed to the same callers.
    pub(super) fn inode(&self, name: &str) -> nix::Result<u64> {
        let mut space = [MaybeUninit::uninit(); 64];
        let (link, _) = readlinkat_raw(&self.dir, name, &mut space).map_err(errno)?;
        nsfs::name(link).map(|(_, inode)| inode).ok_or(Errno::EINVAL)
    }

    pub(super) fn namespace(&self, name: &str) -> nix::Result<File> {
        openat(&self.dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
    }

    /// Its words with spaces between them, or `[NAME]` if it has none; `None` if it has ended.
    pub(super) fn command(&self) -> Option<String> {
        // A process can make its words as long as it likes.
        const MOST_BYTES: u64 = 4096;
        let read = |file: &str| {
            let mut start = Vec::new();
            let file = File::open(format!("/proc/{}/{file}", self.pid)).ok()?;
            file.take(MOST_BYTES).read_to_end(&mut start).ok().map(|_| start)
        };
        let words = read("cmdline")?;
        command_of(&words, || read("comm"))
    }
}

fn command_of(cmdline: &[u8], comm: impl FnOnce() -> Option<Vec<u8>>) -> Option<String> {
    let Some(end) = cmdline.iter().rposition(|byte| *byte != 0) else {
        let name = comm()?;
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        return Some(format!("[{}]", String::from_utf8_lossy(name)));
    };
    Some(String::from_utf8_lossy(&cmdline[..=end]).replace('\0', " "))
}

/// A namespace of the process that was asked for, held open.
pub(super) struct Own {
    /// The name of its file: that of the kind, or `pid_for_children`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) inode: u64,
    pub(super) file: File,
}

/// The namespaces of one process, in the order of [`Kind::ALL`]: its own, and each that only its
/// children will be in.
pub(super) fn own(pid: u32) -> Result<Vec<Own>> {
    let refused = |errno| {
        let error = Error::os(format!("list the namespaces of process {pid}"), errno);
        Err(match errno {
            Errno::ENOENT => error.hint(format!("is there a process {pid}?")),
            Errno::EACCES | Errno::EPERM => error.hint("run as root, or as the owner of that process"),
            _ => error,
        })
    };
    let process = match Process::open(pid) {
        Ok(process) => process,
        Err(errno) => return refused(errno),
    };
    let mut all: Vec<Own> = Vec::new();
    for kind in Kind::ALL {
        let for_children = FOR_CHILDREN.into_iter().filter(|(_, of)| *of == kind).map(|(name, _)| name);
        for name in [kind.name()].into_iter().chain(for_children) {
            let opened = process.namespace(name).and_then(|file| Ok((fstat(&file)?.st_ino, file)));
            match opened {
                Ok((inode, _)) if all.iter().any(|own| (own.kind, own.inode) == (kind, inode)) => {}
                Ok((inode, file)) => all.push(Own { name, kind, inode, file }),
                // A zombie has few, a kernel can lack a kind, and a pid namespace for children
                // that has no process 1 yet is not shown.
                Err(Errno::ENOENT | Errno::ESRCH) => {}
                Err(errno) => return refused(errno),
            }
        }
    }
    if all.is_empty() { refused(Errno::ENOENT) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(cmdline: &[u8]) -> Option<String> {
        command_of(cmdline, || Some(b"kthreadd\n".to_vec()))
    }

    #[test]
    fn the_words_are_joined_and_what_pads_them_is_left_out() {
        assert_eq!(command(b"sh\0-c\0echo a\0").as_deref(), Some("sh -c echo a"));
        assert_eq!(command(b"nginx: master\0\0\0\0").as_deref(), Some("nginx: master"));
    }

    #[test]
    fn a_process_without_words_is_shown_by_its_name() {
        assert_eq!(command(b"").as_deref(), Some("[kthreadd]"));
        assert_eq!(command(b"\0\0").as_deref(), Some("[kthreadd]"));
    }
}
