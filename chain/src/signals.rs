//! Signals on their way through a supervisor: each reaches NEXT once, and what NEXT does with it,
//! the supervisor does too.
//!
//! Supervisor and NEXT are in one process group, so a terminal's signals (Ctrl-C, Ctrl-Z, a new
//! window size) reach NEXT without us; what somebody sends to the supervisor alone is passed on.
//! The first process of a pid namespace is special: the kernel drops what it has no handler for
//! (pid_namespaces(7), "The namespace init process"), so there the supervisor carries out the
//! default action that the sender meant.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        signalfd::{SfdFlags, SignalFd, siginfo},
    },
    unistd::{Pid, getpgid, getpgrp, getpid, getsid, tcgetpgrp},
};

use crate::{
    error::{Doing, Result},
    link::by_signal,
    sys,
};

/// All signals, held back from the supervisor and read from a descriptor instead.
pub(crate) struct Signals {
    fd: SignalFd,
    caller: SigSet,
    child_was_ignored: bool,
}

impl Signals {
    /// Blocks every signal and opens the descriptor. A caller that ignores SIGCHLD would make the
    /// kernel reap NEXT unseen (waitpid(2)), so SIGCHLD is set to its default.
    pub(crate) fn hold() -> Result<Self> {
        let all = SigSet::all();
        let mut caller = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut caller))
            .doing(|| "block signals".into())?;
        let child_was_ignored =
            sys::disposition(Signal::SIGCHLD, false).doing(|| "watch for the end of the child".into())?;
        let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .doing(|| "open a signalfd".into())?;
        let _ = HELD.set(Held { by: getpid(), caller });
        Ok(Self { fd, caller, child_was_ignored })
    }

    /// Gives NEXT the mask and the dispositions that the tool's caller had.
    pub(crate) fn restore(&self) -> Result<()> {
        if self.child_was_ignored {
            sys::disposition(Signal::SIGCHLD, true).doing(|| "ignore SIGCHLD as before".into())?;
        }
        restore_sigpipe()?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.caller), None).doing(|| "unblock signals".into())
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next signal that waits, if one does.
    pub(crate) fn next(&self) -> Result<Option<siginfo>> {
        self.fd.read_signal().doing(|| "read a signal".into())
    }
}

/// The tool ignores SIGPIPE; NEXT gets what the tool's caller had.
pub(crate) fn restore_sigpipe() -> Result<()> {
    sys::disposition(Signal::SIGPIPE, sys::start::sigpipe_was_ignored())
        .map(drop)
        .doing(|| "restore SIGPIPE".into())
}

/// Who holds signals back, and which the caller did: the links are not given [`Signals`].
static HELD: OnceLock<Held> = OnceLock::new();

struct Held {
    by: Pid,
    caller: SigSet,
}

/// How long a wait goes on before it is asked whether a signal is to end it: most are over by then.
const AT_FIRST: Duration = Duration::from_millis(20);

/// Waits until `fd` can be read or has been closed, and says whether that was so in time. In a supervisor, which holds
/// signals back, one that asks the program to end does so with EINTR, and stays to be seen by others; its children
/// are ended by it.
pub fn wait_readable(fd: BorrowedFd, patience: Duration) -> nix::Result<bool> {
    let until = Instant::now() + patience;
    if poll_until(&mut [PollFd::new(fd, PollFlags::POLLIN)], until.min(Instant::now() + AT_FIRST))? {
        return Ok(true);
    }
    let ending = HELD.get().filter(|held| held.by == getpid()).map(ending_signals);
    let ending = match ending {
        Some(signals) => {
            Some(SignalFd::with_flags(&signals?, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
        }
        None => None,
    };
    let mut fds = vec![PollFd::new(fd, PollFlags::POLLIN)];
    fds.extend(ending.as_ref().map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
    let in_time = poll_until(&mut fds, until)?;
    if in_time && !fds[0].any().unwrap_or(false) { Err(Errno::EINTR) } else { Ok(in_time) }
}

fn poll_until(fds: &mut [PollFd], until: Instant) -> nix::Result<bool> {
    loop {
        // Rounded up, so that the time is over after it.
        let left = until.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
        let left = PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX);
        match poll(fds, left) {
            Err(Errno::EINTR) => {}
            done => return done.map(|ready| ready > 0),
        }
    }
}

/// Those by which people and service managers ask a program to end, but for what its caller ignored or held back.
const ASKS_TO_END: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

fn ending_signals(held: &Held) -> nix::Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in ASKS_TO_END {
        if !held.caller.contains(signal) && !sys::is_ignored(signal)? {
            signals.add(signal);
        }
    }
    Ok(signals)
}

/// The signal that has ended a wait in this process.
pub(crate) fn ending() -> Option<Signal> {
    let signals = HELD.get().map(ending_signals)?.ok()?;
    let waiting = sys::pending().ok()?;
    ASKS_TO_END.into_iter().find(|signal| signals.contains(*signal) && waiting.contains(*signal))
}

/// Does what must not be left half-way: a signal that would end the program meanwhile does so after it.
pub fn undisturbed<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut caller = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut caller))
        .doing(|| "block signals".into())?;
    let done = work();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&caller), None).doing(|| "unblock signals".into())?;
    done
}

/// Whether it is what the kernel sends to who has asked to be told of something (fcntl(2), F_NOTIFY).
pub(crate) fn is_call(info: &siginfo) -> bool {
    info.ssi_signo == Signal::SIGIO as u32 && info.ssi_code == libc::SI_KERNEL
}

/// What the supervisor has to do about a signal that it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing: NEXT got it as well, or sent it.
    Nothing,
    /// Send it on.
    Pass(Signal),
    /// Kill the box, and say that this signal did it.
    KillFor(Signal),
    /// Stop the box, whose first process would not: this signal asked for it.
    StopFor(Signal),
}

/// What a child does with a signal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver {
    /// It is the first of its pid namespace.
    first: bool,
    /// It is NEXT by now, or the init that runs it. Before that it has every signal blocked.
    runs: bool,
}

impl Receiver {
    /// A child in the pid namespace of its parent.
    pub(crate) fn plain() -> Self {
        Self { first: false, runs: false }
    }

    /// The first process of a pid namespace.
    pub(crate) fn first_of_namespace() -> Self {
        Self { first: true, runs: false }
    }

    pub(crate) fn runs(&mut self) {
        self.runs = true;
    }

    /// Decides about a signal that came.
    pub(crate) fn react(self, info: &siginfo, child: Pid, signals: &Signals) -> Reaction {
        let Some(signal) =
            i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
        else {
            return Reaction::Nothing;
        };
        let sender = Pid::from_raw(info.ssi_pid.cast_signed());
        // The terminal signals the whole foreground process group, but when it hangs up it tells
        // the leader of the session alone (tty_signal_session_leader() in drivers/tty/tty_jobctrl.c).
        let is_for_us = signal == Signal::SIGHUP && getsid(None) == Ok(getpid());
        let from_kernel = info.ssi_code == libc::SI_KERNEL && !is_for_us;
        if signal == Signal::SIGCHLD && info.ssi_code > 0 {
            return Reaction::Nothing;
        }
        // From a pid namespace below ours the sender's number is the one that it has there
        // (prepare_kill_siginfo() in kernel/signal.c, Linux 6.18), and so tells nothing: then a signal to
        // the group reaches NEXT twice, which is better than one from outside that is lost.
        if info.ssi_code != libc::SI_KERNEL && !self.first && (sender == getpid() || is_inside(sender, child))
        {
            return Reaction::Nothing;
        }
        match self.take(signal, child, signals) {
            Reaction::Pass(_) if from_kernel => Reaction::Nothing,
            reaction => reaction,
        }
    }

    /// Decides about a signal that the child has not got: it is sent on, or its default action is
    /// carried out, where the child would not.
    pub(crate) fn take(self, signal: Signal, child: Pid, signals: &Signals) -> Reaction {
        let handled = match self {
            Self { runs: true, first: true } => is_handled(child, signal, &["SigCgt", "SigIgn", "SigBlk"]),
            Self { runs: true, first: false } => true,
            // What the tool's caller ignored or blocked, NEXT will have so too.
            Self { runs: false, .. } => {
                signals.caller.contains(signal) || is_handled(child, signal, &["SigIgn"])
            }
        };
        match default_action(signal) {
            Default::Terminate if !handled => Reaction::KillFor(signal),
            Default::Stop if !handled => Reaction::StopFor(signal),
            _ => Reaction::Pass(signal),
        }
    }
}

enum Default {
    Terminate,
    Stop,
    Other,
}

/// What a process does that has not said otherwise (signal(7), "Standard signals").
fn default_action(signal: Signal) -> Default {
    use Signal::{SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    match signal {
        SIGCHLD | SIGCONT | SIGURG | SIGWINCH => Default::Other,
        SIGTSTP | SIGTTIN | SIGTTOU => Default::Stop,
        _ => Default::Terminate,
    }
}

/// Whether `signal` is in one of these masks of `child` (proc_pid_status(5)). Where /proc is missing or
/// of another pid namespace nothing is known: then the default action is carried out, so that a box
/// can be ended.
fn is_handled(child: Pid, signal: Signal, masks: &[&str]) -> bool {
    if !proc_is_ours() {
        return false;
    }
    let Some(status) = read(&format!("/proc/{child}/status")) else { return false };
    let bit = 1 << (signal as u32 - 1);
    status
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .filter(|(name, _)| masks.contains(name))
        .filter_map(|(_, mask)| u64::from_str_radix(mask, 16).ok())
        .any(|mask| mask & bit != 0)
}

/// Whether `sender` is NEXT or descends from it, as in a script's `kill 0`: then the signal went to
/// the whole process group, NEXT among it.
fn is_inside(sender: Pid, child: Pid) -> bool {
    let mut pid = sender;
    // The depth of a process tree is bounded only by pid_max; a tree that changes while it is
    // walked must not hold us.
    for _ in 0..1024 {
        if pid == child {
            return true;
        }
        let Some(parent) = parent_of(pid) else { return false };
        pid = parent;
    }
    false
}

/// Whether the numbers in /proc are those of this process's pid namespace.
pub fn proc_is_ours() -> bool {
    fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == getpid().to_string().as_str())
}

/// A file of /proc, in which a command's name need not be UTF-8.
fn read(file: &str) -> Option<String> {
    fs::read(file).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn parent_of(pid: Pid) -> Option<Pid> {
    if pid.as_raw() <= 1 || !proc_is_ours() {
        return None;
    }
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, so what follows is counted from the last one.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Whether a NEXT that was stopped by `signal` is to look stopped from outside: by job control, or in
/// the foreground of a terminal, where a shell's `suspend` is a SIGSTOP. One that somebody sent to NEXT
/// elsewhere is theirs to undo.
pub(crate) fn stops_the_job(signal: Signal, child: Pid) -> bool {
    match signal {
        Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => true,
        Signal::SIGSTOP => {
            let terminal = fs::File::open("/dev/tty");
            let foreground = terminal.ok().and_then(|terminal| tcgetpgrp(terminal).ok());
            // An interactive shell has a process group of its own.
            foreground.is_some_and(|group| group == getpgrp() || Ok(group) == getpgid(Some(child)))
        }
        _ => false,
    }
}

/// Stops this process by the signal that stopped NEXT, so that the shell, or the supervisor around
/// this one, sees a stopped job. Returns when somebody continues it; at once in an orphaned process
/// group, which the kernel does not let job control stop (setpgid(2)).
pub(crate) fn stop_self(signal: Signal) -> Result<()> {
    let mut only = SigSet::empty();
    only.add(signal);
    let doing = || format!("stop by {signal}");
    kill(getpid(), signal).doing(doing)?;
    // SIGSTOP has done its work already; the others wait to be let through.
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None).doing(doing)?;
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&only), None).doing(doing)
}

/// Ends this process as `signal` ended NEXT, so that the caller sees the same; as the first process
/// of a pid namespace, which no signal of its own can kill, by status 128+N.
pub fn die_of(signal: Signal) -> ! {
    if getpid().as_raw() != 1 {
        // NEXT dumped core if it was to; a second dump, of the supervisor, would only hide it.
        let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
        let _ = sys::disposition(signal, false);
        let _ = kill(getpid(), signal);
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    }
    sys::exit_now(by_signal(signal as i32))
}
