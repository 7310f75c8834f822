//! A terminal of its own for a command that enters a box: who is in the box can open what the command has open, and
//! would else read what is typed at the caller's terminal, also when the command has ended.

use std::{
    io::{self, IsTerminal},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use chain::{Doing, Result};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::openpty,
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, getppid, read, setsid, write},
};

mod request {
    use nix::libc;

    nix::ioctl_read_bad!(get_size, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_write_int_bad!(take, libc::TIOCSCTTY);
}

/// What is passed on to the one who has the new terminal.
const PASSED: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// Where a standard descriptor is a terminal, goes on in a child that has another one in its place, and in a session
/// of its own; this process then carries what is typed and shown, and ends as the child ends. Otherwise nothing is done.
pub(crate) fn take_another() -> Result<()> {
    let doing = || "make a terminal for the command".to_owned();
    let standard = [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    // What is shown goes where the caller looks.
    let Some(shown) = [1, 2, 0].into_iter().find(|fd| standard[usize::try_from(*fd).unwrap_or(0)]) else {
        return Ok(());
    };
    // SAFETY: it is a standard descriptor, which stays open.
    let outer = unsafe { BorrowedFd::borrow_raw(shown) };
    let modes = tcgetattr(outer).doing(doing)?;
    let pair = openpty(size(outer).as_ref(), Some(&modes)).doing(doing)?;
    let mut watched = SigSet::empty();
    PASSED
        .into_iter()
        .chain([Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGCONT])
        .for_each(|one| watched.add(one));
    let parent = nix::unistd::getpid();
    watched.thread_block().doing(doing)?;
    // SAFETY: there is one thread.
    match unsafe { fork() }.doing(doing)? {
        ForkResult::Child => {
            drop(pair.master);
            watched.thread_unblock().doing(doing)?;
            set_pdeathsig(Signal::SIGKILL).doing(doing)?;
            if getppid() != parent {
                chain::exit_now(chain::FAILED);
            }
            setsid().doing(doing)?;
            // SAFETY: the request takes a number.
            unsafe { request::take(pair.slave.as_raw_fd(), 0) }.doing(doing)?;
            let take = |is_one: bool, dup: fn(&OwnedFd) -> nix::Result<()>| {
                if is_one { dup(&pair.slave) } else { Ok(()) }
            };
            take(standard[0], |fd| dup2_stdin(fd)).doing(doing)?;
            take(standard[1], |fd| dup2_stdout(fd)).doing(doing)?;
            take(standard[2], |fd| dup2_stderr(fd)).doing(doing)
        }
        ForkResult::Parent { child } => {
            drop(pair.slave);
            let typed = standard[0].then(io::stdin);
            let carrier =
                Carrier { child, master: pair.master, typed: typed.as_ref().map(AsFd::as_fd), outer, modes };
            let ended = carrier.run(&watched).doing(doing);
            carrier.calm();
            match ended? {
                WaitStatus::Signaled(_, signal, _) => chain::die_of(signal),
                WaitStatus::Exited(_, status) => {
                    chain::exit_now(u8::try_from(status & 0xff).unwrap_or(chain::FAILED))
                }
                _ => chain::exit_now(chain::FAILED),
            }
        }
    }
}

struct Carrier<'a> {
    child: Pid,
    master: OwnedFd,
    /// Where the caller types, if that is a terminal.
    typed: Option<BorrowedFd<'a>>,
    outer: BorrowedFd<'a>,
    /// Of the caller's terminal, as it was.
    modes: Termios,
}

impl Carrier<'_> {
    fn run(&self, watched: &SigSet) -> nix::Result<WaitStatus> {
        let signals = SignalFd::with_flags(watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        self.take_keys();
        let mut typed = self.typed;
        loop {
            let mut fds = vec![
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.master.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(typed.map(|typed| PollFd::new(typed, PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                ready => ready?,
            };
            let ready: Vec<_> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if ready[1] {
                // It fails when nobody has the other end; then the child's end is awaited.
                let _ = self.show();
            }
            if ready.get(2) == Some(&true)
                && let Some(from) = typed
                && !carry(from, self.master.as_fd())?
            {
                typed = None;
                let _ = kill(self.child, Signal::SIGHUP);
            }
            if ready[0] {
                while let Some(info) = signals.read_signal()? {
                    let signal =
                        i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                    if let Some(ended) = signal.map(|signal| self.react(signal)).transpose()?.flatten() {
                        while self.show() == Ok(true) {}
                        return Ok(ended);
                    }
                }
            }
        }
    }

    fn react(&self, signal: Signal) -> nix::Result<Option<WaitStatus>> {
        match signal {
            Signal::SIGCHLD => {
                let found = waitpid(self.child, Some(WaitPidFlag::WNOHANG))?;
                return Ok((found.pid() == Some(self.child)).then_some(found));
            }
            Signal::SIGWINCH => {
                if let Some(size) = size(self.outer) {
                    // SAFETY: the request is a winsize, as TIOCSWINSZ demands, and lives through the call.
                    let _ = unsafe { request::set_size(self.master.as_raw_fd(), &raw const size) };
                }
            }
            // Somebody else had the terminal meanwhile.
            Signal::SIGCONT => self.take_keys(),
            signal => {
                let _ = kill(self.child, signal);
            }
        }
        Ok(None)
    }

    /// What the command has written, if it has.
    fn show(&self) -> nix::Result<bool> {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO)? == 0 {
            return Ok(false);
        }
        carry(self.master.as_fd(), self.outer)
    }

    /// Each key goes to the new terminal as it is, which makes signals and lines of them.
    fn take_keys(&self) {
        if let Some(typed) = self.typed {
            let mut raw = self.modes.clone();
            cfmakeraw(&mut raw);
            let _ = tcsetattr(typed, SetArg::TCSADRAIN, &raw);
        }
    }

    /// The caller's terminal is as it was.
    fn calm(&self) {
        if let Some(typed) = self.typed {
            let _ = tcsetattr(typed, SetArg::TCSADRAIN, &self.modes);
        }
    }
}

/// Carries what is there; whether there was something.
fn carry(from: BorrowedFd, to: BorrowedFd) -> nix::Result<bool> {
    let mut bytes = [0; 4096];
    let count = match read(from, &mut bytes) {
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(true),
        // So ends a terminal whose other side is closed.
        Err(Errno::EIO) | Ok(0) => return Ok(false),
        count => count?,
    };
    let mut rest = &bytes[..count];
    while !rest.is_empty() {
        match write(to, rest) {
            Err(Errno::EINTR) => {}
            written => rest = &rest[written?..],
        }
    }
    Ok(true)
}

fn size(terminal: BorrowedFd) -> Option<libc::winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request is a winsize, as TIOCGWINSZ demands, and lives through the call.
    unsafe { request::get_size(terminal.as_raw_fd(), &raw mut size) }.ok().map(|_| size)
}
