//! One link of a chain: what a primitive wants at each place of a launch.

use std::{
    ffi::{CString, OsStr, OsString},
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use nix::{errno::Errno, sched::CloneFlags, sys::signal::Signal, unistd::Pid};

use crate::{
    error::{Result, TIMED_OUT},
    next::Inheritance,
};

/// One kernel primitive, as a step in front of NEXT.
///
/// The five places follow each other as they are listed. What a link does not need it leaves out.
/// A lone tool launches one link, `box-run` launches many; the code is the same.
pub trait Link {
    /// The lone tool's name, for errors and for the printed chain.
    fn name(&self) -> &'static str;

    /// The lone tool's words for this link, without NEXT: what a shell needs to make the same.
    fn words(&self) -> Vec<OsString>;

    /// What the kernel will be asked, one line a step, for `--dry-run`.
    fn steps(&self) -> Vec<String>;

    /// In the supervisor, first of all, and not in a dry run: what must be so even if nothing else can be done, such
    /// as that a report of another launch is not taken for that of this one.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// In the supervisor, before anything exists: opens files, checks that what was asked can be
    /// done, and says in `launch` what the link needs. Holds nothing that belongs to one box only.
    fn prepare(&mut self, launch: &mut Launch) -> Result<()>;

    /// In the supervisor, just before the child is made: makes what each box has for itself, such
    /// as its group. Undone by [`Link::after`], which follows if and only if this was called.
    fn make(&mut self, _birth: &mut Birth) -> Result<()> {
        Ok(())
    }

    /// In the process that makes the new namespaces, before it makes them: joins what decides where
    /// they are made and to whom they belong. Called only if the link asked for it with
    /// [`Launch::act_before_birth`].
    fn before_birth(&mut self) -> Result<()> {
        Ok(())
    }

    /// In the supervisor while the child waits: what only an outsider may do. Called only if the
    /// link asked for it with [`Launch::act_beside`].
    fn beside(&mut self, _child: Pid) -> Result<()> {
        Ok(())
    }

    /// In the process that becomes NEXT, in the order of the links: join, mount, switch root.
    fn enter(&mut self) -> Result<()> {
        Ok(())
    }

    /// In the process that becomes NEXT, when all links have entered: what only NEXT is to be without. With an
    /// init, which is made in between and must stay able to wait and to pass signals on, it is not in that.
    fn before_exec(&mut self) -> Result<()> {
        Ok(())
    }

    /// In the supervisor when all links have entered and the child waits to become NEXT: tells and
    /// keeps what is there by now. Called only if the link asked for it with [`Launch::act_before_next`].
    fn before_next(&mut self, _child: Pid) -> Result<()> {
        Ok(())
    }

    /// In the supervisor, after [`Link::before_next`]: what the descriptor of [`Launch::tell_on`] gets, at
    /// most 4,096 bytes, which a pipe takes at once or not at all.
    fn told(&self, _child: Pid) -> Result<String> {
        Ok(String::new())
    }

    /// In the supervisor, when the child goes on to become NEXT: what takes time that NEXT need not wait for.
    fn meanwhile(&mut self) {}

    /// In the supervisor, while NEXT runs: a descriptor that becomes readable when [`Link::alarmed`] is to be
    /// called.
    fn alarm(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// In the supervisor, when the alarm went off. One that is to go off again must not be readable any more;
    /// what fails is said, and NEXT runs on.
    fn alarmed(&mut self) -> Result<()> {
        Ok(())
    }

    /// In the supervisor, while NEXT runs, when the kernel has sent it SIGIO: what it does who has asked for that, as with
    /// [`crate::call_when_something_is_made`].
    fn called(&mut self) {}

    /// What to do about the kernel's refusal to make `namespaces`, if the link knows.
    fn advice(&self, _namespaces: CloneFlags, _errno: Errno) -> Option<String> {
        None
    }

    /// In the supervisor, whatever happened, in reverse order: reports and cleans up.
    fn after(&mut self, _ended: &Ended) -> Result<()> {
        Ok(())
    }
}

/// The links of one launch, in the order in which they enter.
pub type Links = Vec<Box<dyn Link>>;

/// What the links of one launch need together.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a link asked for")]
pub struct Launch {
    /// Namespaces that the process which becomes NEXT gets anew, except the cgroup namespace: its
    /// root is the group that its maker is in (cgroup_namespaces(7)), so a link makes it in
    /// [`Link::enter`], when the process is in its group; and except the time namespace, whose
    /// clocks are set before anybody is in it.
    pub namespaces: CloneFlags,
    /// How the mounts of a new mount namespace hang together with those outside.
    pub propagation: Propagation,
    /// The first process of the new pid namespace is not NEXT but one that runs it and reaps orphans.
    pub init: bool,
    /// NEXT's environment, where it is not the caller's: words as environ(7) has them, passed on as they
    /// are. NEXT is looked for by its PATH.
    pub environment: Option<Vec<CString>>,
    /// NEXT is a program as the caller sees it, though a link changes the root: it is opened when all links
    /// are prepared, and run by descriptor. It must be linked statically.
    pub host_next: bool,
    pub(crate) program: Option<OwnedFd>,
    /// A line is written here when the child is about to become NEXT.
    pub(crate) told_on: Option<OwnedFd>,
    pub(crate) wait_fd: Option<OwnedFd>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) supervised: bool,
    pub(crate) before_birth: bool,
    pub(crate) beside: bool,
    pub(crate) before_next: bool,
}

/// Propagation of all mounts of a new mount namespace (mount_namespaces(7), "Shared subtrees").
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Propagation {
    /// Nothing goes in or out.
    Private,
    /// What is mounted outside comes in.
    Slave,
    /// Both ways, where the mounts outside are shared.
    Shared,
    /// As the kernel copied it.
    Unchanged,
}

/// When NEXT is ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// After this time it gets SIGTERM.
    pub after: Duration,
    /// And SIGKILL so much later.
    pub kill_after: Duration,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            namespaces: CloneFlags::empty(),
            propagation: Propagation::Private,
            init: false,
            environment: None,
            host_next: false,
            program: None,
            told_on: None,
            wait_fd: None,
            timeout: None,
            supervised: false,
            before_birth: false,
            beside: false,
            before_next: false,
        }
    }
}

impl Launch {
    /// The link has something to do around NEXT, so a supervisor stays outside. Without this the
    /// process changes itself and execs, as chroot(1) and env(1) do.
    pub fn supervise(&mut self) {
        self.supervised = true;
    }

    /// The link has something to do before the new namespaces are made. With a supervisor, which
    /// stays where it is, that is done by a process in between, which is gone before NEXT runs.
    pub fn act_before_birth(&mut self) {
        self.before_birth = true;
    }

    /// The link has something to do beside the child, so the child waits for [`Link::beside`].
    pub fn act_beside(&mut self) {
        self.supervised = true;
        self.beside = true;
    }

    /// The link has something to do before NEXT runs, so the child waits for [`Link::before_next`].
    pub fn act_before_next(&mut self) {
        self.supervised = true;
        self.before_next = true;
    }

    /// What [`Link::told`] says goes to this descriptor, before the child becomes NEXT.
    pub fn tell_on(&mut self, fd: OwnedFd) {
        self.supervised = true;
        self.told_on = Some(fd);
    }

    /// The child waits for this descriptor before it becomes NEXT.
    pub fn wait_for(&mut self, fd: OwnedFd) {
        self.supervised = true;
        self.wait_fd = Some(fd);
    }

    /// NEXT is ended when its time is over.
    pub fn limit_time(&mut self, timeout: Timeout) {
        self.supervised = true;
        self.timeout = Some(timeout);
    }

    /// What NEXT gets of ours.
    pub(crate) fn inheritance<'a>(&'a self, keep_fds: &'a [RawFd]) -> Inheritance<'a> {
        let program = self.program.as_ref().map(AsFd::as_fd);
        Inheritance { keep_fds, environment: self.environment.as_deref(), program }
    }

    /// Whether the child waits when all links have entered.
    pub(crate) fn waits_before_next(&self) -> bool {
        self.before_next || self.told_on.is_some() || self.wait_fd.is_some()
    }
}

/// What one child is born with.
#[derive(Debug, Default)]
pub struct Birth {
    /// The cgroup v2 directory that the child starts in (clone3's CLONE_INTO_CGROUP, Linux 5.7).
    pub cgroup: Option<OwnedFd>,
}

/// How a launch ended, as [`Link::after`] is told.
#[derive(Debug)]
pub struct Ended<'a> {
    /// NEXT's first word.
    pub next: &'a OsStr,
    /// The child as the supervisor sees it; `None` if it was never made. It is reaped by now.
    pub pid: Option<Pid>,
    /// Whether the child was let go on to become NEXT. If not, what was to outlive NEXT must not.
    pub released: bool,
    /// What became of NEXT.
    pub ending: Ending,
}

/// What became of NEXT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It never ran: the launch failed, and its error says why.
    NotRun,
    /// It ended by itself with this status, 0 to 255.
    Exited(u8),
    /// It was killed by this signal.
    Killed(Signal),
    /// Its time was over, and it was ended.
    TimedOut,
}

impl Ending {
    /// The exit status that tells it, as a shell would; 0 where nothing was to be run.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::NotRun => 0,
            Self::Exited(status) => status,
            Self::Killed(signal) => by_signal(signal as i32),
            Self::TimedOut => TIMED_OUT,
        }
    }
}

/// How a shell tells that a command was killed by a signal: 128+N.
pub(crate) fn by_signal(number: i32) -> u8 {
    128 + u8::try_from(number).unwrap_or(0)
}
