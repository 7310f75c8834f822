//! The kinds of namespaces.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use chain::{Error, Result};
use nix::{libc, sched::CloneFlags};

/// The kinds of namespaces (namespaces(7)), in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// User and group ids, capabilities (user_namespaces(7)).
    User,
    /// Host name and NIS domain name (uts_namespaces(7)).
    Uts,
    /// System V IPC and POSIX message queues (ipc_namespaces(7)).
    Ipc,
    /// Network devices, addresses, ports (network_namespaces(7)).
    Net,
    /// The root of what cgroup files show (cgroup_namespaces(7)).
    Cgroup,
    /// The clocks that count from boot (time_namespaces(7)).
    Time,
    /// Process ids; the first process in it is 1 (pid_namespaces(7)).
    Pid,
    /// Mounts (mount_namespaces(7)).
    Mnt,
}

impl Kind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Kind; 8] =
        [Kind::User, Kind::Uts, Kind::Ipc, Kind::Net, Kind::Cgroup, Kind::Time, Kind::Pid, Kind::Mnt];

    /// The name of the file in /proc/PID/ns, which is also what the user types.
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Uts => "uts",
            Kind::Ipc => "ipc",
            Kind::Net => "net",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
            Kind::Pid => "pid",
            Kind::Mnt => "mnt",
        }
    }

    /// The flag of clone(2), unshare(2) and setns(2).
    pub fn flag(self) -> CloneFlags {
        match self {
            Kind::User => CloneFlags::CLONE_NEWUSER,
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Net => CloneFlags::CLONE_NEWNET,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            // nix has no name for it.
            Kind::Time => CloneFlags::from_bits_retain(libc::CLONE_NEWTIME),
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Mnt => CloneFlags::CLONE_NEWNS,
        }
    }

    /// The file of the namespace that `process` (a pid, or `self`) has of this kind.
    pub(crate) fn file(self, process: impl fmt::Display) -> PathBuf {
        format!("/proc/{process}/ns/{self}").into()
    }

    /// Whether this kernel has the kind: CONFIG_TIME_NS and others can be left out. Where /proc is
    /// not mounted nothing can be asked, and making one tells.
    pub(crate) fn is_known_here(self) -> bool {
        !fs::exists("/proc/self/ns").unwrap_or(false) || fs::exists(self.file("self")).unwrap_or(true)
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::name).join(", ");
            Error::new(format!("{text:?}"), "not a kind of namespace").hint(format!("there are {known}"))
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}
