//! How a LAN is found, or begun: its holder listens on an abstract socket (unix(7)), which is gone when the holder is,
//! so that nothing can be left over.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use chain::{Doing, Error, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, chdir, fork, getpid, setsid},
};

use crate::{
    holder::Holder,
    message::{self, Answer, Ask, Member},
    names::{self, Rivals},
};

/// How often one is tried to be found that has ended in between.
const TRIES: u32 = 100;

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

    /// Waits until who listens holds a LAN, or will not.
    pub(crate) fn greet(socket: OwnedFd) -> Result<Option<Self>> {
        let connection = Self { socket, holder: None };
        // Once it has answered it knows us, and does not end.
        match connection.ask(&Ask::Hello, &[]) {
            Ok(_) => Ok(Some(connection)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks, and gives the last answer.
    pub(crate) fn ask(&self, ask: &Ask, descriptors: &[std::os::fd::BorrowedFd]) -> Result<Answer> {
        message::send(self.socket.as_fd(), ask, descriptors).doing(doing)?;
        self.answer()
    }

    fn answer(&self) -> Result<Answer> {
        loop {
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

    /// Asks for links: of all, or to leave.
    pub(crate) fn members(&self, ask: &Ask) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        let mut answer = self.ask(ask, &[])?;
        while let Answer::Member(member) = answer {
            members.push(*member);
            answer = self.answer()?;
        }
        Ok(members)
    }
}

impl Connection {
    /// Ends the connection. If the LAN ends with it, this waits until its holder is gone.
    pub(crate) fn see_off(self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        if let Ok(Some((Answer::Ended, _))) = message::receive(self.socket.as_fd()) {
            let _ = message::receive::<Answer>(self.socket.as_fd());
            self.bury();
        }
    }

    /// Leaves no zombie of a holder that has ended. If it is no child of this process, or not any more, process 1 is
    /// the one who does that.
    pub(crate) fn bury(self) {
        // As process 1 of a pid namespace the supervisor may have done so.
        let _ = self.holder.map(|holder| waitpid(holder, None));
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
    // The supervisor holds signals back that are to be passed on.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).doing(doing)?;
    Holder::new(first, supervisor, listener).and_then(Holder::run).doing(doing)
}
