//! The launch: the links' places in one order, with a supervisor or without.

use std::{
    convert::Infallible,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    libc,
    poll::PollFlags,
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal, stat::Mode, wait::waitpid},
    unistd::{Pid, write},
};

use crate::{
    channel::{self, Channel, Gate, Report, Word},
    cli,
    error::{Doing, Error, FAILED, Result},
    init,
    link::{Birth, Ended, Ending, Launch, Links},
    mount,
    next::Next,
    signals::{self, Receiver, Signals},
    supervisor::{Child, Event},
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
            sys::check_given(*fd).doing(|| format!("--keep-fd {fd}"))?;
        }
        for link in &mut self.links {
            link.prepare(&mut launch).map_err(|error| error.at(link.name()))?;
        }
        if launch.host_next {
            launch.program = Some(self.next.open(launch.environment.as_deref())?);
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
        self.links.iter_mut().try_for_each(|link| link.begin().map_err(|error| error.at(link.name())))?;
        let launch = self.prepare()?;
        if launch.supervised {
            return self.supervise(&launch);
        }
        if launch.before_birth {
            self.before_birth()?;
        }
        unshare(launch.namespaces).map_err(|errno| self.namespaces_failed(&launch, errno))?;
        self.enter(&launch)?;
        before_exec(&mut self.links)?;
        let never = self.next.become_it(&launch.inheritance(&self.keep_fds), signals::restore_sigpipe)?;
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
            let child = child.insert(self.spawn(launch, &birth, &signals)?);
            self.attend(launch, child)
        });
        // Nobody needs to be told that it was ended while it waited for something.
        let ending = ending.or_else(|error| {
            let signal = if error.errno() == Some(Errno::EINTR) { signals::ending() } else { None };
            signal.map(Ending::Killed).ok_or(error)
        });
        let pid = child.as_ref().map(Child::pid);
        let released = child.as_ref().is_some_and(Child::was_released) && ending.is_ok();
        // Whatever failed, no child outlives this: dropping it kills and reaps it.
        drop(child);
        let ended = Ended {
            next: self.next.name(),
            pid,
            released,
            ending: *ending.as_ref().unwrap_or(&Ending::NotRun),
        };
        for link in self.links[..made].iter_mut().rev() {
            if let Err(error) = link.after(&ended) {
                // NEXT ran or did not: what could not be cleaned up does not change its status.
                cli::complain(link.name(), &error);
            }
        }
        ending
    }

    /// What the supervisor does while the child lives.
    fn attend(&mut self, launch: &Launch, child: &mut Child) -> Result<Ending> {
        if launch.beside {
            for link in &mut self.links {
                link.beside(child.pid()).map_err(|error| error.at(link.name()))?;
            }
            child.go();
        }
        if launch.waits_before_next() {
            if let Event::Ended(ending) = child.next_event(None)? {
                return Ok(ending);
            }
            for link in &mut self.links {
                link.before_next(child.pid()).map_err(|error| error.at(link.name()))?;
            }
            if let Some(fd) = &launch.told_on {
                if let Event::Ended(ending) = child.wait_for(fd, PollFlags::POLLOUT)? {
                    return Ok(ending);
                }
                self.tell(fd, child.pid())?;
            }
            if let Some(fd) = &launch.wait_fd
                && let Event::Ended(ending) = child.wait_for(fd, PollFlags::POLLIN)?
            {
                return Ok(ending);
            }
            child.go();
        }
        child.released();
        if let Some(timeout) = launch.timeout {
            child.limit_time(timeout);
        }
        for link in &mut self.links {
            link.meanwhile();
        }
        sys::give_back_memory();
        self.wait(child)
    }

    /// Waits for the end of NEXT, and lets the links that are called, or whose alarm goes off, do what they have to.
    fn wait(&mut self, child: &mut Child) -> Result<Ending> {
        loop {
            let alarm = self.links.iter().position(|link| link.alarm().is_some());
            let fd = alarm.and_then(|at| self.links[at].alarm());
            match child.next_event(fd.map(|fd| (fd, PollFlags::POLLIN)))? {
                Event::Ended(ending) => return Ok(ending),
                Event::Called => self.links.iter_mut().for_each(|link| link.called()),
                Event::Ready | Event::Able => {
                    let Some(link) = alarm.map(|at| &mut self.links[at]) else { continue };
                    if let Err(error) = link.alarmed() {
                        cli::complain(link.name(), &error);
                    }
                }
            }
        }
    }

    /// Writes what the links tell of the child.
    fn tell(&self, fd: &OwnedFd, child: Pid) -> Result<()> {
        for link in &self.links {
            let told = link.told(child).map_err(|error| error.at(link.name()))?;
            let written = write(fd, told.as_bytes()).doing(|| "tell of the child".into());
            written.map_err(|error| error.at(link.name()))?;
        }
        Ok(())
    }

    /// Makes the child; in it, becomes NEXT or tells why not.
    fn spawn<'a>(&mut self, launch: &Launch, birth: &Birth, signals: &'a Signals) -> Result<Child<'a>> {
        assert_one_thread();
        let Channel { reader, writer: report } = Channel::new()?;
        // The supervisor's end: whoever else has it when the supervisor dies keeps the child from seeing that.
        let mut reader = Some(reader);
        let gate = if launch.beside || launch.waits_before_next() { Some(Channel::new()?) } else { None };
        let side = if launch.before_birth {
            self.clone_after_change(launch, birth, &report, &mut reader)?
        } else {
            Some(self.clone(launch, birth, sys::clone)?)
        };
        match side {
            None => {
                drop(report);
                Err(Report::new(reader)
                    .last_word()?
                    .unwrap_or_else(|| Error::new("make a child", "the process in between was killed")))
            }
            Some((Side::Parent(pid), _)) => {
                let first = launch.namespaces.contains(CloneFlags::CLONE_NEWPID);
                let receiver = if first { Receiver::first_of_namespace() } else { Receiver::plain() };
                let gate = gate.map(|gate| gate.writer);
                let child = Child::new(pid, receiver, signals, Report::new(reader), gate);
                let alarm = self.links.iter().any(|link| link.alarm().is_some());
                Ok(if launch.init || launch.waits_before_next() || alarm {
                    child.that_talks()
                } else {
                    child
                })
            }
            Some((Side::Child, door)) => {
                drop(reader);
                let gate = gate.map(|gate| Gate::new(gate.reader));
                let joined = door.map_or(Ok(()), join);
                let lived = joined.and_then(|()| self.be_child(launch, &report, gate.as_ref(), signals));
                let error = match lived {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                let status = error.status();
                channel::tell(&report, &Word::Failed(error));
                sys::exit_now(status)
            }
        }
    }

    /// Makes the child in its group. On a kernel or under a seccomp filter without clone3(2) it has to join that itself,
    /// by the file that comes with it.
    fn clone(
        &self,
        launch: &Launch,
        birth: &Birth,
        clone: fn(CloneFlags, Option<BorrowedFd>) -> nix::Result<Side>,
    ) -> Result<(Side, Option<File>)> {
        let group = birth.cgroup.as_ref().map(AsFd::as_fd);
        let (side, door) = match (clone(launch.namespaces, group), group) {
            (Err(Errno::ENOSYS), Some(group)) => {
                let door = open_door(group)?;
                (clone(launch.namespaces, None), Some(door))
            }
            (side, _) => (side, None),
        };
        side.map(|side| (side, door)).map_err(|errno| self.namespaces_failed(launch, errno))
    }

    /// The same by a process in between: only it is changed by what the links do before the birth, and
    /// it is gone before this returns. What it makes is this process's child; `None` if it made none.
    fn clone_after_change(
        &mut self,
        launch: &Launch,
        birth: &Birth,
        report: &File,
        reader: &mut Option<File>,
    ) -> Result<Option<(Side, Option<File>)>> {
        let mut relay = Channel::new()?;
        let between = match sys::clone(CloneFlags::empty(), None).doing(|| "make a child".into())? {
            Side::Parent(between) => between,
            Side::Child => {
                *reader = None;
                let side = die_with_supervisor(report)
                    .and_then(|()| self.before_birth())
                    // The kernel forgets it when a process changes its credentials (prctl(2)).
                    .and_then(|()| die_with_supervisor(report))
                    .and_then(|()| self.clone(launch, birth, sys::clone_sibling));
                match side {
                    Ok(child @ (Side::Child, _)) => return Ok(Some(child)),
                    Ok((Side::Parent(pid), _)) => {
                        let _ = relay.writer.write_all(&pid.as_raw().to_ne_bytes());
                    }
                    Err(error) => channel::tell(report, &Word::Failed(error)),
                }
                sys::exit_now(0);
            }
        };
        drop(relay.writer);
        // Both its processes close their ends soon: this one when it is gone, the child at the start.
        let mut pid = [0; size_of::<libc::pid_t>()];
        let told = relay.reader.read_exact(&mut pid);
        waitpid(between, None).doing(|| "wait for the process in between".into())?;
        let made = told.is_ok().then(|| libc::pid_t::from_ne_bytes(pid));
        Ok(made.map(|pid| (Side::Parent(Pid::from_raw(pid)), None)))
    }

    fn before_birth(&mut self) -> Result<()> {
        self.links.iter_mut().try_for_each(|link| link.before_birth().map_err(|error| error.at(link.name())))
    }

    /// What the child does, in the order in which it happens.
    fn be_child(
        &mut self,
        launch: &Launch,
        report: &File,
        gate: Option<&Gate>,
        signals: &Signals,
    ) -> Result<Infallible> {
        die_with_supervisor(report)?;
        if launch.beside {
            pass(gate)?;
        }
        self.enter(launch)?;
        if launch.waits_before_next() {
            // The kernel forgets it when a process changes its credentials (prctl(2)).
            die_with_supervisor(report)?;
            channel::tell(report, &Word::Ready);
            pass(gate)?;
        }
        let Self { links, next, keep_fds } = self;
        let inheritance = launch.inheritance(keep_fds);
        if launch.init {
            die_with_supervisor(report)?;
            return init::run(next, &inheritance, report, signals, || before_exec(links));
        }
        before_exec(links)?;
        die_with_supervisor(report)?;
        next.become_it(&inheritance, || signals.restore())
    }

    /// What the process that becomes NEXT does with itself.
    fn enter(&mut self, launch: &Launch) -> Result<()> {
        if launch.namespaces.contains(CloneFlags::CLONE_NEWNS) {
            mount::propagate(launch.propagation)?;
        }
        self.links.iter_mut().try_for_each(|link| link.enter().map_err(|error| error.at(link.name())))
    }

    /// Why the kernel made no new namespaces. Only a lone link can be blamed.
    fn namespaces_failed(&self, launch: &Launch, errno: Errno) -> Error {
        let error = Error::os(describe(launch.namespaces), errno);
        let error = match self.links.as_slice() {
            [link] => error.at(link.name()),
            _ => error,
        };
        match self.links.iter().find_map(|link| link.advice(launch.namespaces, errno)) {
            Some(advice) => error.hint(advice),
            None if errno == Errno::EPERM => error.hint("run as root"),
            None => error,
        }
    }
}

/// What the process that becomes NEXT does with itself last.
fn before_exec(links: &mut Links) -> Result<()> {
    links.iter_mut().try_for_each(|link| link.before_exec().map_err(|error| error.at(link.name())))
}

/// Opens the file by which a process joins a group of v2. The right to do so is that of who opens it (Linux 5.16), which
/// the child may not have.
fn open_door(group: BorrowedFd) -> Result<File> {
    let opened = openat(group, "cgroup.procs", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
    opened.map(File::from).doing(|| "open the command's group".into())
}

/// Joins it: 0 stands for who writes it (cgroups(7)).
fn join(mut door: File) -> Result<()> {
    door.write_all(b"0").doing(|| "move the command into its group".into())
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

/// Waits until the supervisor did what only it can do; ends if it gave up.
fn pass(gate: Option<&Gate>) -> Result<()> {
    match gate {
        Some(gate) if !gate.wait()? => sys::exit_now(FAILED),
        _ => Ok(()),
    }
}

/// Fork copies one thread only; another one's locks would stay locked in the child for ever.
fn assert_one_thread() {
    // Where /proc is missing or another namespace's nothing can be asked; no program here starts a thread.
    debug_assert!(
        !signals::proc_is_ours() || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) == 1,
        "a launch must start from a single thread"
    );
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
