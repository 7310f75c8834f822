//! Namespaces as a link of a chain: new ones (clone(2), unshare(2)) and existing ones (setns(2)).
//!
//! What each kind separates is in namespaces(7). The cgroup namespace is made when the process is
//! in its group already, the pid namespace at the clone, because it takes in children only.

mod args;
mod join;
mod loopback;
mod proc;

pub use args::{Args, HOSTNAME_MAX, Kind, Namespaces, Target, Want, hostname};

use std::ffi::OsString;

use chain::{Birth, Doing, Launch, Link, Remedy, Result};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::sethostname,
};

use join::Joined;

/// NEXT in new or existing namespaces.
#[derive(Debug)]
pub struct NsEnter {
    namespaces: Namespaces,
    joined: Vec<Joined>,
}

impl NsEnter {
    /// A link that makes and joins `namespaces`.
    pub fn new(namespaces: Namespaces) -> Self {
        Self { namespaces, joined: Vec::new() }
    }

    /// New mounts of one's own need a /proc that shows the new processes.
    fn wants_proc(&self) -> bool {
        let has_pid = self.namespaces.wanted.iter().any(|(kind, _)| *kind == Kind::Pid);
        has_pid && self.namespaces.is_new(Kind::Mnt)
    }

    fn has_new(&self, kind: Kind) -> bool {
        self.namespaces.is_new(kind)
    }
}

impl Link for NsEnter {
    fn name(&self) -> &'static str {
        "ns-enter"
    }

    fn words(&self) -> Vec<OsString> {
        vec![self.namespaces.word()]
    }

    fn steps(&self) -> Vec<String> {
        let mut steps: Vec<_> = self
            .namespaces
            .wanted
            .iter()
            .map(|(kind, want)| match want {
                Want::New => format!("make a new {kind} namespace"),
                Want::Join(target) => format!("join the {kind} namespace of {}", target.word().display()),
            })
            .collect();
        if self.has_new(Kind::Mnt) {
            steps.push("make all mounts private".into());
        }
        if self.wants_proc() {
            steps.push("mount a new proc on /proc".into());
        }
        if let Some(name) = &self.namespaces.hostname {
            steps.push(format!("set the host name to {name}"));
        }
        if self.has_new(Kind::Net) {
            steps.push("set the loopback interface up".into());
        }
        steps
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        for (kind, want) in &self.namespaces.wanted {
            if *kind == Kind::Pid {
                launch.supervise();
            }
            match want {
                Want::New if *kind == Kind::Cgroup => {}
                Want::New => launch.namespaces |= kind.flag(),
                Want::Join(target) => self.joined.push(Joined::open(*kind, target)?),
            }
        }
        Ok(())
    }

    /// A pid namespace is joined by the parent: setns(2) decides where its next child is born.
    fn make(&mut self, _birth: &mut Birth) -> Result<()> {
        self.joined.iter().filter(|joined| joined.kind == Kind::Pid).try_for_each(Joined::enter)
    }

    fn enter(&mut self) -> Result<()> {
        self.joined.iter().filter(|joined| joined.kind != Kind::Pid).try_for_each(Joined::enter)?;
        if self.has_new(Kind::Cgroup) {
            unshare(CloneFlags::CLONE_NEWCGROUP)
                .doing(|| "new cgroup namespace".into())
                .remedy(Errno::EPERM, "run as root")?;
        }
        if self.wants_proc() {
            proc::mount_on_proc()?;
        }
        if let Some(name) = &self.namespaces.hostname {
            sethostname(name).doing(|| format!("set the host name to {name}"))?;
        }
        if self.has_new(Kind::Net) {
            loopback::set_up()?;
        }
        Ok(())
    }
}
