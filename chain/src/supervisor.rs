//! The supervisor's side: it listens to the child, passes signals on, and learns how NEXT ended.

use std::{fs::File, io::Write, os::fd::AsFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    channel,
    error::{Doing, Result},
    link::Ending,
    signals::{self, Reaction, Signals},
};

/// The child that becomes NEXT. Dropped before it ended, it is killed and reaped.
pub(crate) struct Child<'a> {
    pid: Pid,
    /// It is the first process of a new pid namespace.
    init: bool,
    signals: &'a Signals,
    /// Open until the child execs or ends.
    report: Option<File>,
    gate: Option<File>,
    ended: bool,
    /// The signal for which the supervisor itself killed the box.
    killed_for: Option<Signal>,
    /// The signal for which the supervisor itself stopped the box.
    stopped_for: Option<Signal>,
}

impl<'a> Child<'a> {
    pub(crate) fn new(pid: Pid, init: bool, signals: &'a Signals, report: File, gate: Option<File>) -> Self {
        Self {
            pid,
            init,
            signals,
            report: Some(report),
            gate,
            ended: false,
            killed_for: None,
            stopped_for: None,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the child go on that waits for what is done beside it.
    pub(crate) fn go(&mut self) {
        if let Some(mut gate) = self.gate.take() {
            // If the child is gone, waiting for it tells why.
            let _ = gate.write_all(b"g");
        }
    }

    /// Waits for the end of NEXT, or for the child's word that it could not become NEXT.
    pub(crate) fn wait(&mut self) -> Result<Ending> {
        let mut said = Vec::new();
        loop {
            let (heard, signalled) = self.listen()?;
            if heard
                && let Some(report) = &mut self.report
                && channel::receive(report, &mut said)?
            {
                self.report = None;
            }
            if !signalled {
                continue;
            }
            while let Some(info) = self.signals.next()? {
                let reaction = signals::react(&info, self.pid, self.init, self.report.is_none());
                self.carry_out(&reaction);
            }
            if let Some(ending) = self.look()? {
                // What it said last may still be in the pipe.
                while let Some(report) = &mut self.report {
                    if channel::receive(report, &mut said)? {
                        self.report = None;
                    }
                }
                return match channel::decode(&said) {
                    Some(error) => Err(error),
                    None => Ok(ending),
                };
            }
        }
    }

    /// Sleeps until the child speaks (first) or a signal comes (second).
    fn listen(&self) -> Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        fds.extend(self.report.as_ref().map(|report| PollFd::new(report.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing(|| "wait for the child".into()),
        }
        let ready = |fd: Option<&PollFd>| fd.and_then(PollFd::any).unwrap_or(false);
        Ok((ready(fds.get(1)), ready(fds.first())))
    }

    fn carry_out(&mut self, reaction: &Reaction) {
        // Before it is reaped the pid is the child's own, so these can fail only if it has ended,
        // and then its end is what counts.
        match reaction {
            Reaction::Nothing => {}
            Reaction::Pass(signal) => {
                let _ = kill(self.pid, *signal);
            }
            Reaction::KillFor(signal) => {
                self.killed_for = Some(*signal);
                let _ = kill(self.pid, Signal::SIGKILL);
            }
            Reaction::StopFor(signal) => {
                self.stopped_for = Some(*signal);
                let _ = kill(self.pid, Signal::SIGSTOP);
            }
        }
    }

    /// Asks the kernel how the child is. Stops with it if job control stopped it; a SIGSTOP that
    /// somebody sent to NEXT alone is theirs to continue.
    fn look(&mut self) -> Result<Option<Ending>> {
        loop {
            let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED))
                .doing(|| "wait for the child".into())?;
            match status {
                WaitStatus::Exited(_, code) => {
                    self.ended = true;
                    // The kernel keeps the low eight bits (exit(3)).
                    return Ok(Some(Ending::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX))));
                }
                WaitStatus::Signaled(_, signal, _) => {
                    self.ended = true;
                    let ours = self.killed_for.filter(|_| signal == Signal::SIGKILL);
                    return Ok(Some(Ending::Killed(ours.unwrap_or(signal))));
                }
                WaitStatus::Stopped(_, signal) => {
                    let job_control = matches!(signal, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU);
                    if let Some(signal) = self.stopped_for.take().or(job_control.then_some(signal)) {
                        signals::stop_self(signal)?;
                        let _ = kill(self.pid, Signal::SIGCONT);
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}
