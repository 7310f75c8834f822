//! The launch: the links' five places in one order, with a supervisor or without.

use std::{
    convert::Infallible,
    fs::File,
    os::fd::{AsFd, RawFd},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};

use crate::{
    channel::{self, Channel},
    cli,
    error::{Doing, Error, FAILED, Result},
    link::{Birth, Ended, Ending, Launch, Links},
    next::Next,
    signals::{self, Signals},
    supervisor::Child,
    sys::{self, Side},
};

/// A launch with everything that the command line said about it.
pub(crate) struct Plan {
    pub(crate) links: Links,
    pub(crate) next: Next,
    /// Descriptors besides 0, 1 and 2 that NEXT gets.
    pub(crate) keep_fds: Vec<RawFd>,
}

impl Plan {
    /// Checks everything that can be checked before anything is made.
    pub(crate) fn prepare(&mut self) -> Result<Launch> {
        let mut launch = Launch::default();
        for fd in &self.keep_fds {
            sys::check_open(*fd).doing(|| format!("--keep-fd {fd}"))?;
        }
        for link in &mut self.links {
            link.prepare(&mut launch).map_err(|error| error.at(link.name()))?;
        }
        Ok(launch)
    }

    /// What would be done, a line a step.
    pub(crate) fn steps(&self) -> impl Iterator<Item = String> {
        let command = format!("run {}", self.next);
        let named = self
            .links
            .iter()
            .flat_map(|link| link.steps().into_iter().map(|step| format!("{}: {step}", link.name())));
        named.chain([command])
    }

    /// Runs NEXT. Without a supervisor this returns only if that failed.
    pub(crate) fn run(mut self) -> Result<Ending> {
        let launch = self.prepare()?;
        if launch.supervised {
            return self.supervise(&launch);
        }
        unshare(launch.namespaces)
            .map_err(|errno| namespaces_failed(&self.links, launch.namespaces, errno))?;
        signals::restore_sigpipe()?;
        let never = self.become_next(&launch, || Ok(()))?;
        match never {}
    }

    fn supervise(&mut self, launch: &Launch) -> Result<Ending> {
        // From here on a signal waits, so that none ends us between making and cleaning up.
        let signals = Signals::hold()?;
        let mut birth = Birth::default();
        let mut made = 0;
        let mut result = Ok(());
        for link in &mut self.links {
            made += 1;
            result = link.make(&mut birth).map_err(|error| error.at(link.name()));
            if result.is_err() {
                break;
            }
        }
        let mut child = None;
        let ending = result.and_then(|()| {
            let made = child.insert(self.spawn(launch, &birth, &signals)?);
            if launch.beside {
                for link in &mut self.links {
                    link.beside(made.pid()).map_err(|error| error.at(link.name()))?;
                }
                made.go();
            }
            made.wait()
        });
        let pid = child.as_ref().map(Child::pid);
        // Whatever failed, no child outlives this: dropping it kills and reaps it.
        drop(child);
        let ended =
            Ended { next: self.next.name(), pid, ending: *ending.as_ref().unwrap_or(&Ending::NotRun) };
        for link in self.links[..made].iter_mut().rev() {
            if let Err(error) = link.after(&ended) {
                // NEXT ran or did not: what could not be cleaned up does not change its status.
                cli::complain(link.name(), &error);
            }
        }
        ending
    }

    /// Makes the child; in it, becomes NEXT or tells why not.
    fn spawn<'a>(&mut self, launch: &Launch, birth: &Birth, signals: &'a Signals) -> Result<Child<'a>> {
        assert_one_thread();
        let report = Channel::new()?;
        let gate = if launch.beside { Some(Channel::new()?) } else { None };
        match sys::clone(launch.namespaces, birth.cgroup.as_ref().map(AsFd::as_fd)) {
            Err(errno) => Err(namespaces_failed(&self.links, launch.namespaces, errno)),
            Ok(Side::Parent(pid)) => Ok(Child::new(
                pid,
                launch.namespaces.contains(CloneFlags::CLONE_NEWPID),
                signals,
                report.reader,
                gate.map(|gate| gate.writer),
            )),
            Ok(Side::Child) => {
                let Channel { reader, mut writer } = report;
                drop(reader);
                let gate = gate.map(|Channel { reader, .. }| reader);
                let result = die_with_supervisor(&writer)
                    .and_then(|()| wait_at(gate))
                    .and_then(|()| self.become_next(launch, || signals.restore()));
                let error = match result {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                channel::send(&mut writer, &error);
                sys::exit_now(error.status())
            }
        }
    }

    /// What the process that becomes NEXT does, in the order in which it happens.
    fn become_next(
        &mut self,
        launch: &Launch,
        restore_signals: impl FnOnce() -> Result<()>,
    ) -> Result<Infallible> {
        if launch.namespaces.contains(CloneFlags::CLONE_NEWNS) {
            make_mounts_private()?;
        }
        for link in &mut self.links {
            link.enter().map_err(|error| error.at(link.name()))?;
        }
        sys::close_on_exec_from(3).doing(|| "mark descriptors close-on-exec".into())?;
        for fd in &self.keep_fds {
            sys::keep_on_exec(*fd).doing(|| format!("--keep-fd {fd}"))?;
        }
        restore_signals()?;
        Err(self.next.exec())
    }
}

/// New mounts stay in the new namespace, and nothing comes in from the old one (mount_namespaces(7)).
fn make_mounts_private() -> Result<()> {
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .doing(|| "make all mounts private".into())
}

/// SIGKILL when the supervisor dies. It may have died before that was asked for, and getppid(2)
/// tells nothing across a pid namespace; the pipe, whose other end it alone holds, does.
fn die_with_supervisor(report: &File) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "ask to die with the supervisor".into())?;
    if channel::is_deaf(report.as_fd()) {
        sys::exit_now(FAILED);
    }
    Ok(())
}

/// Waits until the supervisor did what only it can do. Its end of file means that it gave up.
fn wait_at(gate: Option<File>) -> Result<()> {
    let Some(mut gate) = gate else { return Ok(()) };
    let mut word = Vec::new();
    if channel::receive(&mut gate, &mut word)? {
        sys::exit_now(FAILED);
    }
    Ok(())
}

/// Fork copies one thread only; another one's locks would stay locked in the child for ever.
fn assert_one_thread() {
    // Where /proc is not mounted nothing can be asked; no program here starts a thread.
    debug_assert!(
        std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) == 1,
        "a launch must start from a single thread"
    );
}

/// Why the kernel made no new namespaces. Only a lone link can be blamed.
fn namespaces_failed(links: &Links, namespaces: CloneFlags, errno: Errno) -> Error {
    let error = Error::os(describe(namespaces), errno);
    let error = match links.as_slice() {
        [link] => error.at(link.name()),
        _ => error,
    };
    match errno {
        Errno::EPERM => error.hint("run as root"),
        Errno::ENOSPC => {
            error.hint("a limit of /proc/sys/user/max_*_namespaces, or 32 pid namespaces in each other")
        }
        _ => error,
    }
}

/// `new uts, pid namespaces`, or what a launch without any makes.
fn describe(namespaces: CloneFlags) -> String {
    let names: Vec<_> = [
        (CloneFlags::CLONE_NEWUSER, "user"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::CLONE_NEWNS, "mnt"),
        (CloneFlags::CLONE_NEWNET, "net"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    ]
    .into_iter()
    .filter(|(flag, _)| namespaces.contains(*flag))
    .map(|(_, name)| name)
    .collect();
    match names.as_slice() {
        [] => "make a child".into(),
        [name] => format!("new {name} namespace"),
        names => format!("new {} namespaces", names.join(", ")),
    }
}
