//! Namespaces as a link of a chain: new ones (clone(2), unshare(2)) and existing ones (setns(2)).
//!
//! What each kind separates is in namespaces(7). The cgroup namespace is made when the process is
//! in its group already, the pid namespace at the clone, because it takes in children only, the time
//! namespace before exec, because its clocks must be set before anybody is in it.

mod args;
mod details;
mod forbidden;
mod idmap;
mod join;
mod keep;
mod kind;
mod list;
mod namespaces;
mod nsfs;
mod offsets;
mod pid_file;
mod proc;
mod subid;
mod tell;
mod timens;
mod userns;

pub use args::Args;
pub use details::{Details, Made, Supervision};
pub use idmap::{Map, Owner, Range};
pub use keep::Keep;
pub use kind::Kind;
pub use namespaces::{HOSTNAME_MAX, Namespaces, Target, Want, hostname};
pub use offsets::{Offset, Offsets};
pub use pid_file::PidFile;
pub use subid::{range_to_give, spare_range, user_name};

use std::{ffi::OsString, path::Path};

use chain::{Doing, Ended, Launch, Link, Propagation, Result};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{Pid, sethostname},
};
use rustix::system::setdomainname;

use join::{Joins, View};
use keep::Kept;
use userns::UserNs;

/// NEXT in new or existing namespaces.
#[derive(Debug)]
pub struct NsEnter {
    asked: Namespaces,
    details: Details,
    /// What was asked for, with what `all` stands for.
    namespaces: Namespaces,
    joins: Option<Joins>,
    /// The namespaces that exist are joined before the new ones are made.
    joins_first: bool,
    user: Option<UserNs>,
    pid_file: Option<PidFile>,
    kept: Vec<Kept>,
}

impl NsEnter {
    /// A link that makes and joins `namespaces`.
    pub fn new(namespaces: Namespaces) -> Self {
        Self {
            namespaces: namespaces.clone(),
            asked: namespaces,
            details: Details::default(),
            joins: None,
            joins_first: false,
            user: None,
            pid_file: None,
            kept: Vec::new(),
        }
    }

    /// The same with options.
    #[must_use]
    pub fn with(self, details: Details) -> Self {
        Self { details, ..self }
    }

    /// Where a new proc is mounted: new mounts of one's own need one that shows the new processes.
    fn proc(&self) -> Option<&Path> {
        let wants_it = self.wants(Kind::Pid) && self.has_new(Kind::Mnt) && !self.details.no_proc;
        let named = self.details.proc.as_deref();
        named.or(wants_it.then_some(Path::new("/proc")))
    }

    fn wants(&self, kind: Kind) -> bool {
        self.namespaces.wanted.iter().any(|(wanted, _)| *wanted == kind)
    }

    fn has_new(&self, kind: Kind) -> bool {
        self.namespaces.is_new(kind)
    }

    /// The kinds that are made at the clone, or by one unshare(2).
    fn new_at_birth(&self) -> CloneFlags {
        let apart = [Kind::Cgroup, Kind::Time];
        let new = Kind::ALL.into_iter().filter(|kind| self.has_new(*kind) && !apart.contains(kind));
        new.fold(CloneFlags::empty(), |flags, kind| flags | kind.flag())
    }

    fn join(&self) -> Result<()> {
        self.joins.as_ref().map_or(Ok(()), Joins::enter)
    }
}

impl Link for NsEnter {
    fn name(&self) -> &'static str {
        "ns-enter"
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = self.details.words();
        words.push(self.asked.word());
        words
    }

    fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let (joined, new): (Vec<_>, Vec<_>) =
            self.namespaces.wanted.iter().partition(|(_, want)| matches!(want, Want::Join(_)));
        for (kind, want) in joined {
            if let Want::Join(target) = want {
                steps.push(format!("join the {kind} namespace of {}", target.word().display()));
            }
        }
        for (flag, what) in [(self.details.root, "root"), (self.details.wd, "working directory")] {
            if flag {
                steps.push(format!("take the {what} of the process that is joined"));
            }
        }
        steps.extend(new.iter().map(|(kind, _)| format!("make a new {kind} namespace")));
        if self.has_new(Kind::Mnt) {
            match self.details.propagation.unwrap_or(Propagation::Private) {
                Propagation::Private => steps.push("make all mounts private".into()),
                Propagation::Slave => steps.push("make all mounts slaves".into()),
                Propagation::Shared => steps.push("make all mounts shared".into()),
                Propagation::Unchanged => {}
            }
        }
        if let Some(owner) = self.details.made.owner {
            steps.push(format!("let the user namespace belong to user and group {owner}"));
        }
        steps.extend(self.user.iter().flat_map(UserNs::steps));
        if let Some(offsets) = self.namespaces.offsets {
            steps.push(format!("set the clocks by {offsets}"));
        }
        if let Some(place) = self.proc() {
            steps.push(format!("mount a new proc on {}", place.display()));
        }
        if let Some(name) = &self.namespaces.hostname {
            steps.push(format!("set the host name to {name}"));
        }
        if let Some(name) = &self.details.made.domain {
            steps.push(format!("set the domain name to {name}"));
        }
        if self.has_new(Kind::Net) {
            steps.push("set the loopback interface up".into());
        }
        for keep in &self.details.made.keep {
            steps.push(format!("keep the {} namespace on {}", keep.kind, keep.file.display()));
        }
        if let Some(pid) = self.details.env_of {
            steps.push(format!("take the environment of process {pid}"));
        }
        if let Some(file) = &self.details.supervision.pid_file {
            steps.push(format!("write the pid to {}", file.display()));
        }
        if let Some(fd) = self.details.supervision.info_fd {
            steps.push(format!("tell pid and namespaces on descriptor {fd}"));
        }
        if let Some(fd) = self.details.supervision.wait_fd {
            steps.push(format!("wait for descriptor {fd}"));
        }
        if let Some(timeout) = self.details.supervision.timeout {
            steps.push(format!("end the command after {timeout}"));
        }
        if self.details.init {
            steps.push("be process 1, and run the command as its child".into());
        }
        steps
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        // First of all, so that none of these numbers is that of a file that is opened here.
        let take = |fd, option| chain::take_fd(fd).doing(|| format!("{option} {fd}"));
        if let Some(fd) = self.details.supervision.wait_fd {
            launch.wait_for(take(fd, "--wait-fd")?);
        }
        if let Some(fd) = self.details.supervision.info_fd {
            launch.tell_on(take(fd, "--info-fd")?);
        }
        let view = View { root: self.details.root, working_dir: self.details.wd };
        let joins = Joins::open(&mut self.namespaces, view)?;
        if self.namespaces.all == Some(Want::New) {
            for kind in Kind::ALL.into_iter().filter(|kind| kind.is_known_here()) {
                self.namespaces.want(kind, Want::New);
            }
        }
        self.details.check(&self.namespaces)?;
        if self.has_new(Kind::User) {
            let user = UserNs::new(
                &self.namespaces.map,
                self.details.made.gid_map.as_ref(),
                self.details.made.owner,
            )?;
            if user.needs_supervisor() {
                launch.act_beside();
            }
            if self.details.made.owner.is_some() {
                launch.act_before_birth();
            }
            self.user = Some(user);
        }
        launch.namespaces |= self.new_at_birth();
        if self.wants(Kind::Pid) {
            launch.supervise();
        }
        // Where a user or pid namespace is joined, the new ones belong to it or lie in it; and a new
        // user namespace takes the rights to join others away.
        if !joins.is_empty() && (self.wants(Kind::User) || self.wants(Kind::Pid)) {
            self.joins_first = true;
            launch.act_before_birth();
        }
        self.joins = Some(joins);
        if let Some(propagation) = self.details.propagation {
            launch.propagation = propagation;
        }
        launch.init |= self.details.init;
        if let Some(pid) = self.details.env_of {
            launch.environment = Some(join::environment_of(pid)?);
        }
        if let Some(timeout) = self.details.supervision.limit() {
            launch.limit_time(timeout);
        }
        if let Some(file) = &self.details.supervision.pid_file {
            PidFile::check_free(file)?;
            launch.act_before_next();
        }
        if !self.details.made.keep.is_empty() {
            launch.act_before_next();
        }
        let maps_from_outside = self.user.as_ref().is_some_and(UserNs::needs_supervisor);
        if maps_from_outside
            || self.details.supervision.info_fd.is_some()
            || !self.details.made.keep.is_empty()
        {
            proc::check_is_ours()?;
        }
        Ok(())
    }

    fn advice(&self, namespaces: CloneFlags, errno: Errno) -> Option<String> {
        if errno == Errno::ENOMEM && self.wants(Kind::Pid) && !self.has_new(Kind::Pid) {
            return Some("process 1 of the pid namespace has ended, so no other can start in it".into());
        }
        // Whoever asked for what is made with it.
        if errno == Errno::EPERM && self.new_at_birth().contains(CloneFlags::CLONE_NEWUSER) {
            return Some(forbidden::user());
        }
        // Another link asked for more, and its tool has no `user` to add.
        let is_alone = namespaces == self.new_at_birth();
        is_alone.then(|| forbidden::advice(namespaces, &self.asked.word().to_string_lossy(), errno)).flatten()
    }

    fn before_birth(&mut self) -> Result<()> {
        if self.joins_first {
            self.join()?;
        }
        self.details.made.owner.map_or(Ok(()), userns::make_for)
    }

    fn beside(&mut self, child: Pid) -> Result<()> {
        self.user.as_ref().map_or(Ok(()), |user| user.map_from_outside(child))
    }

    fn enter(&mut self) -> Result<()> {
        if let Some(user) = &self.user {
            user.map_itself()?;
        }
        if self.has_new(Kind::Time) {
            timens::make(self.namespaces.offsets)?;
        }
        if let Some(user) = &self.user {
            user.become_mapped()?;
        }
        if !self.joins_first {
            self.join()?;
        }
        if self.has_new(Kind::Cgroup) {
            unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|errno| forbidden::error(Kind::Cgroup, errno))?;
        }
        if let Some(place) = self.proc() {
            proc::mount_on(place)?;
        }
        if let Some(name) = &self.namespaces.hostname {
            sethostname(name).doing(|| format!("set the host name to {name}"))?;
        }
        if let Some(name) = &self.details.made.domain {
            setdomainname(name.as_bytes()).doing(|| format!("set the domain name to {name}"))?;
        }
        if self.has_new(Kind::Net) {
            chain::set_loopback_up()?;
        }
        Ok(())
    }

    fn before_next(&mut self, child: Pid) -> Result<()> {
        for keep in &self.details.made.keep {
            self.kept.push(keep.bind(child)?);
        }
        if let Some(file) = &self.details.supervision.pid_file {
            self.pid_file = PidFile::make(file, child)?;
        }
        Ok(())
    }

    fn told(&self, child: Pid) -> Result<String> {
        if self.details.supervision.info_fd.is_some() { tell::info(child) } else { Ok(String::new()) }
    }

    fn after(&mut self, ended: &Ended) -> Result<()> {
        let mut done = self.pid_file.take().map_or(Ok(()), PidFile::remove);
        if !ended.released {
            // Each, whatever becomes of another.
            for kept in self.kept.drain(..).rev() {
                done = done.and(kept.undo());
            }
        }
        done
    }
}
