//! Joining namespaces that exist. All are opened before anything is made, so that a process that has
//! ended is an early and clear error, and one that takes its number later is not taken for it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::CString,
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result, mount::open_dir};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
    unistd::{chdir, chroot, fchdir, setgroups},
};
use rustix::{
    io::Errno as RustixErrno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    kind::Kind,
    namespaces::{Namespaces, Target, Want},
    nsfs,
    proc::Proc,
    userns,
};

/// What is joined, in the order in which it was asked for.
#[derive(Debug)]
pub(crate) struct Joins {
    targets: Vec<Joined>,
    /// Where the process learns who it is in a user namespace that it joined.
    proc: Option<Proc>,
    root: Option<OwnedFd>,
    working_dir: Option<OwnedFd>,
}

/// Namespaces that one setns(2) joins.
#[derive(Debug)]
struct Joined {
    /// A pidfd or a namespace's file; both keep what they stand for.
    fd: OwnedFd,
    kinds: Vec<Kind>,
    shown: String,
}

/// Which parts of a process's view come along, besides its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) root: bool,
    pub(crate) working_dir: bool,
}

impl Joins {
    /// Opens what is to be joined, and puts into `wanted` what `all` says of the kinds that it does
    /// not name.
    pub(crate) fn open(wanted: &mut Namespaces, view: View) -> Result<Self> {
        let mut processes = BTreeMap::new();
        if let Some(Want::Join(Target::Process(pid))) = wanted.all {
            let process = Process::open(pid, || joining(pid))?;
            for kind in process.other_kinds()? {
                wanted.want(kind, Want::Join(Target::Process(pid)));
            }
            processes.insert(pid, process);
        }
        let mut targets = Vec::new();
        for (kind, want) in &wanted.wanted {
            match want {
                Want::New => {}
                Want::Join(Target::Process(pid)) => {
                    let process = match processes.entry(*pid) {
                        Entry::Occupied(entry) => entry.into_mut(),
                        Entry::Vacant(entry) => entry.insert(Process::open(*pid, || joining(*pid))?),
                    };
                    process.kinds.push(*kind);
                }
                Want::Join(Target::File(path)) => targets.push(Joined::file(*kind, path)?),
            }
        }
        let (mut root, mut working_dir) = (None, None);
        if view.root || view.working_dir {
            let [process] = processes.values().collect::<Vec<_>>()[..] else {
                return Err(Error::new("--root, --wd", "there is not one process whose view to take")
                    .hint("join namespaces of one process, as in mnt@PID"));
            };
            root = view.root.then(|| process.open_dir("root")).transpose()?;
            working_dir = view.working_dir.then(|| process.open_dir("cwd")).transpose()?;
        }
        targets.extend(processes.into_values().filter(|process| !process.kinds.is_empty()).map(Joined::from));
        let proc = targets.iter().any(Joined::has_user).then(Proc::open).transpose()?;
        Ok(Self { targets, proc, root, working_dir })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Joins all. A user namespace comes after what could be joined without it, and before what
    /// could not: it may take rights away and may give some.
    pub(crate) fn enter(&self) -> Result<()> {
        let (users, others): (Vec<_>, Vec<_>) = self.targets.iter().partition(|joined| joined.has_user());
        let mut refused = Vec::new();
        for joined in others {
            match joined.enter() {
                Err(error) if error.errno() == Some(Errno::EPERM) && !users.is_empty() => {
                    refused.push(joined);
                }
                done => done?,
            }
        }
        if !users.is_empty() {
            // Where setgroups(2) is denied they could not be given up any more. Who may not do it has no
            // more rights by them inside than outside.
            match setgroups(&[]) {
                Err(Errno::EPERM) => {}
                done => done.doing(|| "give up the supplementary groups".into())?,
            }
        }
        users.iter().chain(&refused).try_for_each(|joined| joined.enter())?;
        if let Some(proc) = &self.proc {
            userns::become_root_if_nobody(proc)?;
        }
        if let Some(root) = &self.root {
            fchdir(root).doing(|| "go to the root of the process".into())?;
            chroot(".").doing(|| "take the root of the process".into())?;
            chdir("/").doing(|| "go to the new /".into())?;
        }
        if let Some(dir) = &self.working_dir {
            fchdir(dir).doing(|| "take the working directory of the process".into())?;
        }
        Ok(())
    }
}

impl Joined {
    fn file(kind: Kind, path: &Path) -> Result<Self> {
        let shown = format!("join the {kind} namespace {}", path.display());
        match nsfs::open_kind(path).doing(|| shown.clone())? {
            (fd, Some(found)) if found == kind => Ok(Self { fd, kinds: vec![kind], shown }),
            (_, Some(found)) => Err(Error::new(shown, format!("it is a {found} namespace"))),
            (_, None) => Err(Error::new(shown, "it is no namespace")
                .hint("name a file of /proc/PID/ns, or one that a namespace is kept on")),
        }
    }

    fn has_user(&self) -> bool {
        self.kinds.contains(&Kind::User)
    }

    /// One setns(2): of a pidfd it takes all kinds at once, or none (Linux 5.8).
    fn enter(&self) -> Result<()> {
        let flags = self.kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
        setns(&self.fd, flags)
            .doing(|| self.shown.clone())
            .remedy(
                Errno::EPERM,
                if self.has_user() {
                    "run as root, or as who made the user namespace"
                } else {
                    "run as root, or join its user namespace too, as in user@PID"
                },
            )
            .remedy(Errno::ESRCH, NO_PROCESS)
            .remedy(Errno::EINVAL, "the caller is in that user namespace already")
    }
}

impl From<Process> for Joined {
    fn from(process: Process) -> Self {
        let names: Vec<_> = process.kinds.iter().map(|kind| kind.name()).collect();
        let plural = if names.len() > 1 { "s" } else { "" };
        let shown = format!("join the {} namespace{plural} of process {}", names.join(", "), process.pid);
        Self { fd: process.fd, kinds: process.kinds, shown }
    }
}

/// The environment that the process was started with, as it is (proc_pid_environ(5)).
pub(crate) fn environment_of(pid: u32) -> Result<Vec<CString>> {
    // More than exec takes (MAX_ARG_STRINGS and the stack limit in execve(2)), so no process began with it.
    const MOST_BYTES: u64 = 8 << 20;
    let doing = || format!("take the environment of process {pid}");
    let process = Process::open(pid, doing)?;
    let mut bytes = Vec::new();
    let read = File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .doing(doing);
    process.still(read)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
        return Err(Error::os(doing(), Errno::E2BIG));
    }
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    Ok(words.filter_map(|word| CString::new(word).ok()).collect())
}

fn joining(pid: u32) -> String {
    format!("join process {pid}")
}

const NO_PROCESS: &str = "it has ended, or is not seen from here";

/// A process that is joined. What is read of it in /proc counts only if it lives after that.
struct Process {
    pid: u32,
    fd: OwnedFd,
    kinds: Vec<Kind>,
}

impl Process {
    fn open(pid: u32, doing: impl Fn() -> String) -> Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = number.map_or(Err(RustixErrno::SRCH), |number| pidfd_open(number, PidfdFlags::empty()));
        let fd = opened.doing(doing).remedy(Errno::ESRCH, NO_PROCESS)?;
        Ok(Self { pid, fd, kinds: Vec::new() })
    }

    fn open_dir(&self, name: &str) -> Result<OwnedFd> {
        let path = format!("/proc/{}/{name}", self.pid);
        let opened = open_dir(Path::new(&path)).doing(|| format!("open {path}"));
        self.still(opened)
    }

    /// The kinds in which it differs from the caller.
    fn other_kinds(&self) -> Result<Vec<Kind>> {
        let doing = || format!("compare the namespaces of process {}", self.pid);
        let id = |file: PathBuf| fs::metadata(file).map(|found| (found.dev(), found.ino())).doing(doing);
        let mut others = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_known_here()) {
            let theirs = self.still(id(kind.file(self.pid)))?;
            if theirs != id(kind.file("self"))? {
                others.push(kind);
            }
        }
        Ok(others)
    }

    /// `read`, if the process has not ended: then its descriptor is readable (pidfd_open(2)).
    fn still<T>(&self, read: Result<T>) -> Result<T> {
        match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) {
            Ok(0) => read.remedy(Errno::EACCES, "run as root, or as the owner of that process"),
            _ => Err(Error::os(joining(self.pid), Errno::ESRCH).hint(NO_PROCESS)),
        }
    }
}
