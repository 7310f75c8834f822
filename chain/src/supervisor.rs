//! The parent's side: it listens to the child, passes signals on, and learns how NEXT ended. That is
//! the supervisor outside, and the init of a pid namespace inside.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigEvent, SigevNotify, Signal, kill},
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
    unistd::{Pid, getpid},
};
use rustix::process::{WaitOptions, WaitStatus, wait, waitpid};

use crate::{
    channel::{self, Report, Word},
    error::{Doing, Error, Result},
    link::{Ending, Timeout, by_signal},
    signals::{self, Reaction, Receiver, Signals},
};

/// The child that becomes NEXT, or the init that runs it. Dropped before it ended, it is killed and
/// reaped.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that happened or did not")]
pub(crate) struct Child<'a> {
    pid: Pid,
    receiver: Receiver,
    signals: &'a Signals,
    report: Report,
    /// Words come that must be heard at once, not only the last one.
    talks: bool,
    gate: Option<File>,
    /// Where an init tells that NEXT was stopped; a supervisor stops as well.
    outside: Option<&'a File>,
    deadline: Option<Deadline>,
    timed_out: bool,
    failure: Option<Error>,
    ended: bool,
    /// The signal for which the parent itself killed the box.
    killed_for: Option<Signal>,
    /// It was let go on to become NEXT.
    released: bool,
    /// The signal for which the parent itself stopped the box.
    stopped_for: Option<Signal>,
}

/// What a parent waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// All links have entered, and the child waits to become NEXT.
    Ready,
    /// The descriptor that was asked about can be read from or written to.
    Able,
    /// While NEXT runs: the kernel has sent what somebody here asked for.
    Called,
    /// NEXT ended.
    Ended(Ending),
}

enum Deadline {
    Term { at: Instant, kill_after: Duration },
    Kill { at: Instant },
}

impl Deadline {
    fn at(&self) -> Instant {
        match self {
            Self::Term { at, .. } | Self::Kill { at } => *at,
        }
    }

    /// A timer by which this process is continued then, if it is stopped.
    fn wake(&self) -> Result<Timer> {
        let doing = || "watch the time".to_owned();
        let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGCONT, si_value: 0 });
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, event).doing(doing)?;
        // Not 0, which would be never.
        let left = self.at().saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty()).doing(doing)?;
        Ok(timer)
    }
}

impl<'a> Child<'a> {
    pub(crate) fn new(
        pid: Pid,
        receiver: Receiver,
        signals: &'a Signals,
        report: Report,
        gate: Option<File>,
    ) -> Self {
        Self {
            pid,
            receiver,
            signals,
            report,
            talks: false,
            gate,
            outside: None,
            deadline: None,
            timed_out: false,
            failure: None,
            ended: false,
            killed_for: None,
            released: false,
            stopped_for: None,
        }
    }

    /// The same child as an init sees it, which reaps all that ends and tells of stops `outside`.
    pub(crate) fn of_init(mut self, outside: &'a File) -> Self {
        self.outside = Some(outside);
        self
    }

    /// The same child, which tells how far it is, or that NEXT was stopped.
    pub(crate) fn that_talks(mut self) -> Self {
        self.talks = true;
        self
    }

    /// From now on NEXT has so much time.
    pub(crate) fn limit_time(&mut self, timeout: Timeout) {
        let at = Instant::now() + timeout.after;
        self.deadline = Some(Deadline::Term { at, kill_after: timeout.kill_after });
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the child go on that waits for what is done outside.
    pub(crate) fn go(&mut self) {
        if let Some(gate) = &mut self.gate {
            // If the child is gone, waiting for it tells why.
            let _ = gate.write_all(b"g");
        }
    }

    /// Waits for the end of NEXT, or for the child's word that it could not become NEXT.
    pub(crate) fn wait(&mut self) -> Result<Ending> {
        loop {
            if let Event::Ended(ending) = self.next_event(None)? {
                return Ok(ending);
            }
        }
    }

    /// Waits until `fd` can be read from or written to, as `flags` say, or NEXT cannot run any more.
    pub(crate) fn wait_for(&mut self, fd: &OwnedFd, flags: PollFlags) -> Result<Event> {
        self.next_event(Some((fd.as_fd(), flags)))
    }

    /// The child goes on to become NEXT.
    pub(crate) fn released(&mut self) {
        self.released = true;
    }

    pub(crate) fn was_released(&self) -> bool {
        self.released
    }

    /// Waits for what comes next, and passes signals on meanwhile. Fails with the child's error if
    /// it could not become NEXT.
    pub(crate) fn next_event(&mut self, also: Option<(BorrowedFd, PollFlags)>) -> Result<Event> {
        loop {
            while let Some(word) = self.report.next() {
                match word {
                    Word::Ready => return Ok(Event::Ready),
                    Word::InitRuns => self.receiver.runs(),
                    Word::Stopped(signal) => self.stop_by(signal)?,
                    Word::Failed(error) => self.failure = Some(error),
                }
            }
            let ready = self.sleep(also)?;
            if ready.report {
                self.report.listen()?;
                if self.report.fd().is_none() {
                    self.receiver.runs();
                }
                // A signal that came after a word is judged by what the word says.
                if self.report.has_more() || !ready.signals {
                    continue;
                }
            }
            if ready.also {
                return Ok(Event::Able);
            }
            self.end_in_time();
            if ready.signals {
                let called = self.react()?;
                if let Some(ending) = self.look()? {
                    return self.conclude(ending);
                }
                if called && self.released {
                    return Ok(Event::Called);
                }
            }
        }
    }

    fn sleep(&self, also: Option<(BorrowedFd, PollFlags)>) -> Result<Ready> {
        let of = |fd| PollFd::new(fd, PollFlags::POLLIN);
        if !self.talks && self.report.fd().is_some() {
            // What the pipe says is looked at after a signal, and the end of the child is one. To be
            // woken because exec closes it would only take time away from NEXT.
            wait_on(&mut [of(self.signals.fd())], self.patience())?;
        }
        let mut fds = vec![of(self.signals.fd())];
        fds.extend(self.report.fd().map(of));
        let report = fds.len() - 1;
        fds.extend(also.map(|(fd, flags)| PollFd::new(fd, flags)));
        let also = fds.len() - 1;
        wait_on(&mut fds, self.patience())?;
        let ready = |at: usize| fds[at].any().unwrap_or(false);
        Ok(Ready {
            signals: ready(0),
            report: report > 0 && ready(report),
            also: also > report && ready(also),
        })
    }

    /// How long there is nothing to do if nothing comes.
    fn patience(&self) -> PollTimeout {
        let Some(at) = self.deadline.as_ref().map(Deadline::at) else { return PollTimeout::NONE };
        // Rounded up, so that the time is over after it; what does not fit is slept in parts.
        let millis = at.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
    }

    /// Ends NEXT when its time is over, as timeout(1) does: SIGTERM, and SIGKILL if that did not help.
    fn end_in_time(&mut self) {
        match self.deadline {
            Some(Deadline::Term { at, kill_after }) if at <= Instant::now() => {
                self.timed_out = true;
                self.deadline = Some(Deadline::Kill { at: at + kill_after });
                let reaction = self.receiver.take(Signal::SIGTERM, self.pid, self.signals);
                self.carry_out(&reaction);
                // What is stopped takes no other signal.
                let _ = kill(self.pid, Signal::SIGCONT);
            }
            Some(Deadline::Kill { at }) if at <= Instant::now() => {
                self.deadline = None;
                let _ = kill(self.pid, Signal::SIGKILL);
            }
            _ => {}
        }
    }

    /// Gives whether a call was among the signals.
    fn react(&mut self) -> Result<bool> {
        let mut called = false;
        while let Some(info) = self.signals.next()? {
            if signals::is_call(&info) {
                called = true;
            } else {
                let reaction = self.receiver.react(&info, self.pid, self.signals);
                self.carry_out(&reaction);
            }
        }
        Ok(called)
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

    /// Asks the kernel how the child is. Stops with it if that is to be seen outside.
    fn look(&mut self) -> Result<Option<Ending>> {
        let own = rustix::process::Pid::from_raw(self.pid.as_raw());
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        loop {
            let found = match own {
                // To the first process of a pid namespace come all that are orphaned in it.
                Some(_) if self.outside.is_some() || getpid().as_raw() == 1 => wait(options),
                own => waitpid(own, options),
            };
            let found = found.doing(|| "wait for the child".into())?;
            let Some((pid, status)) = found else { return Ok(None) };
            if pid.as_raw_pid() != self.pid.as_raw() {
                continue;
            }
            if let Some(signal) = status.stopping_signal().and_then(|number| Signal::try_from(number).ok()) {
                self.stop_by(signal)?;
            } else if !status.stopped() && !status.continued() {
                self.ended = true;
                return Ok(Some(self.ending(status)));
            }
        }
    }

    fn ending(&self, status: WaitStatus) -> Ending {
        if self.timed_out {
            return Ending::TimedOut;
        }
        match status.terminating_signal().map(Signal::try_from) {
            Some(Ok(signal)) => {
                let ours = self.killed_for.filter(|_| signal == Signal::SIGKILL);
                Ending::Killed(ours.unwrap_or(signal))
            }
            // A real-time signal, which has no name; this is how a shell shows it.
            Some(Err(_)) => Ending::Exited(by_signal(status.terminating_signal().unwrap_or(0))),
            None => Ending::Exited(low_byte(status.exit_status())),
        }
    }

    /// Stops as NEXT was stopped; returns when somebody continued it.
    fn stop_by(&mut self, signal: Signal) -> Result<()> {
        let asked_for = self.stopped_for.take();
        if let Some(outside) = self.outside {
            channel::tell(outside, &Word::Stopped(signal));
        } else if asked_for.is_some() || signals::stops_the_job(signal, self.pid) {
            // The time goes on while both are stopped.
            let _alarm = self.deadline.as_ref().map(Deadline::wake).transpose()?;
            signals::stop_self(asked_for.unwrap_or(signal))?;
            let _ = kill(self.pid, Signal::SIGCONT);
        }
        Ok(())
    }

    /// The end, unless the child's last word, which may still be in the pipe, is an error.
    fn conclude(&mut self, ending: Ending) -> Result<Event> {
        let failure = self.report.last_word()?.or(self.failure.take());
        failure.map_or(Ok(Event::Ended(ending)), Err)
    }
}

/// Which of the descriptors that were slept on have something.
struct Ready {
    signals: bool,
    report: bool,
    also: bool,
}

fn wait_on(fds: &mut [PollFd], patience: PollTimeout) -> Result<()> {
    match poll(fds, patience) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).doing(|| "wait for the child".into()),
    }
}

/// The kernel keeps the low eight bits (exit(3)).
fn low_byte(number: Option<i32>) -> u8 {
    u8::try_from(number.unwrap_or(0) & 0xff).unwrap_or(u8::MAX)
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(self.pid, None);
        }
    }
}
