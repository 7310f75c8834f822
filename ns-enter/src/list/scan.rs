//! The one look at the machine: each process in /proc, then the files that namespaces are kept on.

use std::{collections::BTreeMap, fs, os::fd::AsFd, path::PathBuf};

use chain::{Doing, Remedy, Result};
use nix::{errno::Errno, sys::stat::fstat};

use super::{kept, process::Process};
use crate::{kind::Kind, nsfs};

/// All that was found. Plain values: nothing of it is open any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// By kind, in the order of [`Kind::ALL`], then by inode.
    pub(super) namespaces: Vec<Namespace>,
    /// How many processes there are in /proc.
    pub(super) processes: usize,
    /// How many of them the caller may not look at.
    pub(super) hidden: usize,
    /// /proc does not even name all processes: it is mounted with `hidepid` (proc(5)).
    pub(super) unnamed: bool,
}

/// One namespace. What is `None` is not there or, of its relations, out of the caller's sight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespace {
    pub(super) kind: Kind,
    /// The number that names it, as in the link `uts:[4026531838]`.
    pub(super) inode: u64,
    /// How many processes are in it, counted by their first threads.
    pub(super) processes: usize,
    /// The lowest pid in it.
    pub(super) pid: Option<u32>,
    /// What that process runs: its words, or `[NAME]` if it has none, as a kernel thread.
    pub(super) command: Option<String>,
    /// The user namespace that owns it.
    pub(super) owner: Option<u64>,
    /// The one that it was made in, for user and pid namespaces.
    pub(super) parent: Option<u64>,
    /// The user who made it, for user namespaces.
    pub(super) owner_uid: Option<u32>,
    /// Where it is mounted, and so kept without a process.
    pub(super) files: Vec<PathBuf>,
}

impl Namespace {
    pub(super) fn new(kind: Kind, inode: u64) -> Self {
        Self {
            kind,
            inode,
            processes: 0,
            pid: None,
            command: None,
            owner: None,
            parent: None,
            owner_uid: None,
            files: Vec::new(),
        }
    }
}

/// Looks at everything. Namespaces that are `held` open are found even if nothing else keeps them.
pub(super) fn scan<'a>(held: impl IntoIterator<Item = (Kind, &'a fs::File)>) -> Result<Scan> {
    let mut finder = Finder::default();
    for (kind, file) in held {
        finder.meet(kind, file).doing(|| format!("look at a {kind} namespace"))?;
    }
    for entry in fs::read_dir("/proc").doing(|| "read /proc".into())?.flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            finder.look_at(pid);
        }
    }
    let mountinfo = fs::read("/proc/self/mountinfo")
        .doing(|| "read /proc/self/mountinfo".into())
        .remedy(Errno::ENOENT, "mount proc on /proc")?;
    for kept in kept::all(&mountinfo) {
        finder.find_kept(kept);
    }
    Ok(Scan {
        namespaces: finder.namespaces.into_values().collect(),
        processes: finder.processes,
        hidden: finder.hidden,
        // Each pid namespace with a process in it has a process 1.
        unnamed: !fs::exists("/proc/1").unwrap_or(true),
    })
}

#[derive(Default)]
struct Finder {
    namespaces: BTreeMap<(Kind, u64), Namespace>,
    processes: usize,
    hidden: usize,
}

impl Finder {
    /// Counts a process in its namespaces. One that has ended by now is not there, which is no gap.
    fn look_at(&mut self, pid: u32) {
        match self.count(pid) {
            Ok(found) => self.processes += usize::from(found),
            Err(Errno::ENOENT | Errno::ESRCH) => {}
            Err(_) => {
                self.processes += 1;
                self.hidden += 1;
            }
        }
    }

    /// Whether the process has any namespace. A zombie has those of user and pid only.
    fn count(&mut self, pid: u32) -> nix::Result<bool> {
        let process = Process::open(pid)?;
        let mut command = None;
        let mut found = false;
        for kind in Kind::ALL {
            let inode = match self.inode(&process, kind) {
                Ok(inode) => inode,
                // It has ended, or this kernel lacks the kind.
                Err(Errno::ENOENT | Errno::ESRCH) => continue,
                Err(errno) => return Err(errno),
            };
            let Some(namespace) = self.namespaces.get_mut(&(kind, inode)) else { continue };
            found = true;
            namespace.processes += 1;
            if namespace.pid.is_none_or(|lowest| pid < lowest) {
                namespace.pid = Some(pid);
                namespace.command.clone_from(command.get_or_insert_with(|| process.command()));
            }
        }
        Ok(found)
    }

    fn inode(&mut self, process: &Process, kind: Kind) -> nix::Result<u64> {
        let inode = process.inode(kind.name())?;
        if self.namespaces.contains_key(&(kind, inode)) {
            return Ok(inode);
        }
        self.meet(kind, process.namespace(kind.name())?)
    }

    /// Adds a namespace that is open and not known yet, and those that it lies in, which may have no
    /// process of their own. The nesting is at most 32 deep (user_namespaces(7), pid_namespaces(7)).
    fn meet(&mut self, kind: Kind, file: impl AsFd) -> nix::Result<u64> {
        let inode = fstat(&file)?.st_ino;
        if self.namespaces.contains_key(&(kind, inode)) {
            return Ok(inode);
        }
        let mut namespace = Namespace::new(kind, inode);
        namespace.owner = nsfs::owner(&file).and_then(|owner| self.meet(Kind::User, owner).ok());
        match kind {
            Kind::User => {
                namespace.parent = namespace.owner;
                namespace.owner_uid = nsfs::owner_uid(&file);
            }
            Kind::Pid => {
                namespace.parent = nsfs::parent(&file).and_then(|parent| self.meet(kind, parent).ok());
            }
            _ => {}
        }
        self.namespaces.insert((kind, inode), namespace);
        Ok(inode)
    }

    /// Adds a namespace that is kept on a file. If the file cannot be opened, because another mount
    /// covers it or the caller may not reach it, there is still its name.
    fn find_kept(&mut self, kept: kept::Kept) {
        let key = (kept.kind, kept.inode);
        if !self.namespaces.contains_key(&key)
            && let Ok(file) = kept.open()
        {
            let _ = self.meet(kept.kind, file);
        }
        let namespace = self.namespaces.entry(key).or_insert_with(|| Namespace::new(kept.kind, kept.inode));
        namespace.files.push(kept.file);
    }
}
