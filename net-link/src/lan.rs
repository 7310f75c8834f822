//! How a LAN is found, or begun: its holder listens on an abstract socket (unix(7)), which is gone when the holder is,
//! so that nothing can be left over.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use chain::{Doing, Error, Result, wait_readable};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{ForkResult, Pid, chdir, fork, getpid, setsid},
};
use rustix::{
    process::{PidfdFlags, pidfd_open},
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};

use crate::{
    holder::Holder,
    message::{self, Answer, Ask, Member},
    names::{self, Rivals, peer},
};

/// How often one is tried to be found that has ended in between.
const TRIES: u32 = 100;

/// How long an answer is waited for. The holder does nothing that takes long, but the kernel may let it wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The same when NEXT has ended by itself, and when it has been ended, by who waits for that.
pub(crate) const AT_THE_END: Duration = Duration::from_secs(10);
pub(crate) const WHEN_ENDED: Duration = Duration::from_secs(2);

/// To the process that holds a LAN.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// That process, if it is a child of this one.
    holder: Option<Pid>,
}

impl Connection {
    /// One to the LAN of this name, which is begun if nobody holds it; or to one that has no name.
    pub(crate) fn open(lan: Option<&str>) -> Result<Self> {
        let Some(lan) = lan else { return begin(None) };
        for _ in 0..TRIES {
            if let Some(connection) = Self::find(lan)? {
                return Ok(connection);
            }
            let (number, listener) = names::listen_at_a_free(lan)?;
            match Rivals::of(lan, number)? {
                Rivals::None => return begin(Some(listener)),
                Rivals::Holds(connection) => return Ok(connection),
                Rivals::IsFirst => {}
            }
        }
        Err(Error::new(format!("--lan {lan}"), "it ends each time that it is found"))
    }

    /// One to the LAN of this name, if this user has it.
    pub(crate) fn find(lan: &str) -> Result<Option<Self>> {
        names::check_who_we_are()?;
        for socket in names::ours(lan, &names::numbers(lan)?)? {
            if let Some(connection) = Self::greet(socket)? {
                return Ok(Some(connection));
            }
        }
        Ok(None)
    }

    /// One by a socket that leads to who may hold one.
    pub(crate) fn to(socket: OwnedFd) -> Self {
        Self { socket, holder: None }
    }

    /// Waits until who listens holds a LAN, or will not.
    pub(crate) fn greet(socket: OwnedFd) -> Result<Option<Self>> {
        let connection = Self::to(socket);
        // Once it has answered it knows us, and does not end.
        match connection.ask(&Ask::Hello, &[]) {
            Ok(_) => Ok(Some(connection)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks, and gives the last answer.
    pub(crate) fn ask(&self, ask: &Ask, descriptors: &[std::os::fd::BorrowedFd]) -> Result<Answer> {
        self.send(ask, descriptors)?;
        self.answer(PATIENCE)
    }

    pub(crate) fn send(&self, ask: &Ask, descriptors: &[std::os::fd::BorrowedFd]) -> Result<()> {
        message::send(self.socket.as_fd(), ask, descriptors).doing(doing)
    }

    pub(crate) fn answer(&self, patience: Duration) -> Result<Answer> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !wait_readable(self.socket.as_fd(), left).doing(doing)? {
                return Err(self.silence());
            }
            match message::receive(self.socket.as_fd()) {
                Ok(Some((Answer::Refused { doing, why, hint }, _))) => {
                    return Err(Error::new(doing, why).hint(hint));
                }
                // Nothing that is asked here depends on the way out.
                Ok(Some((Answer::NoWayOut, _))) | Err(Errno::EINTR) => {}
                Ok(Some((Answer::Note(text), _))) => chain::note("net-link", &text),
                Ok(Some((answer, _))) => return Ok(answer),
                Ok(None) => return Err(Errno::ECONNRESET).doing(doing),
                Err(errno) => return Err(errno).doing(doing),
            }
        }
    }

    /// What has come unasked, if the LAN is still held.
    pub(crate) fn unasked(&self) -> Option<Answer> {
        message::receive(self.socket.as_fd()).ok().flatten().map(|(answer, _)| answer)
    }

    /// What is said when there is no answer in time.
    pub(crate) fn silence(&self) -> Error {
        let error = Error::new(doing(), "it does not answer");
        match self.holder.or_else(|| peer(&self.socket).map(|peer| Pid::from_raw(peer.pid()))) {
            Some(holder) if holder.as_raw() > 0 => error.hint(format!("is process {holder} stopped?")),
            _ => error,
        }
    }

    /// Asks for links: of all, or to leave.
    pub(crate) fn members(&self, ask: &Ask, patience: Duration) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        self.send(ask, &[])?;
        while let Answer::Member(member) = self.answer(patience)? {
            members.push(*member);
        }
        Ok(members)
    }
}

impl Connection {
    /// Ends the connection. If the LAN ends with it, this waits until its holder is gone.
    pub(crate) fn see_off(self, patience: Duration) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        let hears = || wait_readable(self.socket.as_fd(), patience) == Ok(true);
        if hears()
            && let Ok(Some((Answer::Ended, _))) = message::receive(self.socket.as_fd())
            && hears()
        {
            self.bury(patience);
        }
    }

    /// Leaves no zombie of a holder that has ended. If it is no child of this process, or not any more, process 1 is
    /// the one who does that.
    pub(crate) fn bury(self, patience: Duration) {
        let Some(holder) = self.holder else { return };
        // As process 1 of a pid namespace the supervisor may have done so.
        if let Some(pid) = rustix::process::Pid::from_raw(holder.as_raw())
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && wait_readable(process.as_fd(), patience) == Ok(true)
        {
            let _ = waitpid(holder, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Whether an error says that nobody is at the other end any more.
pub(crate) fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ECONNRESET | Errno::EPIPE))
}

pub(crate) fn doing() -> String {
    "talk to the process that holds the LAN".into()
}

/// Starts a process that holds a LAN.
fn begin(listener: Option<OwnedFd>) -> Result<Connection> {
    let doing = || "start the process that holds the LAN".to_owned();
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).doing(doing)?;
    let supervisor = getpid().as_raw();
    // SAFETY: the process has one thread, as the launch asserts, so no lock is held by another.
    match unsafe { fork() }.doing(doing)? {
        ForkResult::Parent { child } => {
            drop((theirs, listener));
            let connection = Connection { socket: ours, holder: Some(child) };
            connection.ask(&Ask::Hello, &[]).map_err(|error| error.within(&doing()))?;
            Ok(connection)
        }
        ForkResult::Child => {
            drop(ours);
            let _ = hold(theirs, listener, supervisor);
            chain::exit_now(0)
        }
    }
}

/// What the holder does until the last box is gone.
fn hold(first: OwnedFd, listener: Option<OwnedFd>, supervisor: i32) -> Result<()> {
    let doing = || "hold a LAN".to_owned();
    // No terminal ends it, and no job control stops it.
    setsid().doing(doing)?;
    chdir("/").doing(doing)?;
    // Who waits for the end of our starter's output does not wait for us.
    let nothing = fs::File::options().read(true).write(true).open("/dev/null").doing(doing)?;
    let listening = listener.as_ref().map_or(first.as_raw_fd(), AsRawFd::as_raw_fd);
    chain::close_all_but([first.as_raw_fd(), listening, nothing.as_raw_fd()]).doing(doing)?;
    for standard in 0..=2 {
        // SAFETY: dup2(2) of descriptors that nothing here owns.
        let _ = Errno::result(unsafe { nix::libc::dup2(nothing.as_raw_fd(), standard) });
    }
    drop(nothing);
    let _ = prctl::set_name(c"net-link-lan");
    // Delays are as exact as the kernel's timers.
    let _ = prctl::set_timerslack(1);
    // Each box has some, and a thousand that a shell gives are soon gone.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    keep_only_what_is_needed().doing(doing)?;
    // The supervisor holds signals back that are to be passed on.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).doing(doing)?;
    Holder::new(first, supervisor, listener).and_then(Holder::run).doing(doing)
}

/// Gives up all privileges but those over networks, of which interfaces are changed: boxes reach this process by each frame
/// that they send.
fn keep_only_what_is_needed() -> rustix::io::Result<()> {
    let had = capabilities(None)?;
    let left = CapabilitySet::NET_ADMIN;
    set_no_new_privs(true)?;
    let (effective, permitted) = (had.effective & left, had.permitted & left);
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })
}
