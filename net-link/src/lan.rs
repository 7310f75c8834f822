//! How a LAN is found, or begun: its holder listens on an abstract socket (unix(7)), which is gone when the holder is,
//! so that nothing can be left over.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use chain::{Doing, Error, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{
            AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, UnixCredentials, bind, connect,
            getsockopt, listen, setsockopt, shutdown, socket, socketpair,
            sockopt::{PeerCredentials, SendTimeout},
        },
        time::{TimeVal, TimeValLike},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, Uid, chdir, fork, getpid, setsid},
};

use crate::{
    holder::Holder,
    message::{self, Answer, Ask, Member},
};

/// How the sockets' names begin; a number and the LAN's name follow.
const PREFIX: &str = "chainbox-lan/";

/// How many users may have a LAN of one name: each is at the first number that was free.
const USERS: u32 = 16;

/// Seconds that one may take to be reached. Thousands can wait at a time, and a LAN's holder does nothing that takes long.
const PATIENCE: i64 = 2;

/// How often one is tried to be found that has ended in between.
const TRIES: u32 = 100;

/// To the process that holds a LAN.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// That process, if it is a child of this one.
    holder: Option<Pid>,
}

/// Who is at the other end.
pub(crate) fn peer(socket: &OwnedFd) -> Option<UnixCredentials> {
    getsockopt(socket, PeerCredentials).ok()
}

/// Whether the other end is this user's too.
pub(crate) fn is_ours(socket: &OwnedFd) -> bool {
    peer(socket).is_some_and(|peer| peer.uid() == Uid::effective().as_raw())
}

impl Connection {
    /// One to the LAN of this name, which is begun if nobody holds it; or to one that has no name.
    pub(crate) fn open(lan: Option<&str>) -> Result<Self> {
        let Some(lan) = lan else { return begin(None) };
        for _ in 0..TRIES {
            if let Some(connection) = Self::find(lan)? {
                return Ok(connection);
            }
            if let Some(listener) = listen_at_a_free(lan)? {
                return begin(Some(listener));
            }
        }
        Err(Error::new(format!("--lan {lan}"), "it ends each time that it is found"))
    }

    /// One to the LAN of this name, if this user has it.
    pub(crate) fn find(lan: &str) -> Result<Option<Self>> {
        for number in 0..USERS {
            let socket = new_socket()?;
            // Another user's may be at this number, who takes no one in.
            setsockopt(&socket, SendTimeout, &TimeVal::seconds(PATIENCE)).doing(doing)?;
            match connect(socket.as_raw_fd(), &address(lan, number)?) {
                Ok(()) if is_ours(&socket) => {
                    let connection = Self { socket, holder: None };
                    // Once it has answered it knows us, and does not end.
                    match connection.ask(&Ask::Hello, &[]) {
                        Ok(_) => return Ok(Some(connection)),
                        Err(error) if is_gone(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                // Another user's, or nobody's.
                Ok(()) | Err(Errno::ECONNREFUSED | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno).doing(|| format!("reach the LAN {lan}")),
            }
        }
        Ok(None)
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
                Ok(Some((answer, _))) => return Ok(answer),
                Ok(None) => return Err(Errno::ECONNRESET).doing(doing),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).doing(doing),
            }
        }
    }

    /// Asks for links: of all, or to leave.
    pub(crate) fn members(&self, ask: &Ask) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        let mut answer = self.ask(ask, &[])?;
        while let Answer::Member(member) = answer {
            members.push(member);
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
            // As process 1 of a pid namespace the supervisor may have done so.
            let _ = self.holder.map(|holder| waitpid(holder, None));
        }
    }
}

/// Whether an error says that nobody is at the other end any more.
pub(crate) fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ECONNRESET | Errno::EPIPE))
}

fn doing() -> String {
    "talk to the process that holds the LAN".into()
}

/// The LANs of this user.
pub(crate) fn all() -> Result<Vec<String>> {
    let file = fs::File::open("/proc/net/unix").doing(|| "open /proc/net/unix".into())?;
    let mut names = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.doing(|| "read /proc/net/unix".into())?;
        // Its last column, which an @ begins for a zero byte.
        let name = line.split_once(&format!("@{PREFIX}")).and_then(|(_, rest)| rest.split_once('/'));
        if let Some((_, name)) = name
            && !names.iter().any(|other| other == name)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let is_found = |name: &String| Connection::find(name).is_ok_and(|found| found.is_some());
    names.retain(is_found);
    Ok(names)
}

fn new_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .doing(|| "make a socket".into())
}

fn address(lan: &str, number: u32) -> Result<UnixAddr> {
    UnixAddr::new_abstract(format!("{PREFIX}{number}/{lan}").as_bytes()).doing(|| format!("--lan {lan}"))
}

/// A socket with the LAN's name; `None` if one was begun in between.
fn listen_at_a_free(lan: &str) -> Result<Option<OwnedFd>> {
    for number in 0..USERS {
        let socket = new_socket()?;
        match bind(socket.as_raw_fd(), &address(lan, number)?) {
            Ok(()) => {
                listen(&socket, Backlog::MAXCONN).doing(|| format!("--lan {lan}"))?;
                return Ok(Some(socket));
            }
            Err(Errno::EADDRINUSE) => {
                // Ours, if it has been begun just now; else another user's.
                if Connection::find(lan)?.is_some() {
                    return Ok(None);
                }
            }
            Err(errno) => return Err(errno).doing(|| format!("--lan {lan}")),
        }
    }
    Err(Error::new(format!("--lan {lan}"), "many other users have a LAN of this name").hint("choose another"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_name_and_takes_no_one_in_is_passed_by() {
        let lan = format!("test-{}", getpid());
        let taken = new_socket().expect("a socket");
        bind(taken.as_raw_fd(), &address(&lan, 0).expect("an address")).expect("a name");
        listen(&taken, Backlog::new(0).expect("a length")).expect("a queue");
        let mut waiting = Vec::new();
        loop {
            let socket = new_socket().expect("a socket");
            rustix::io::ioctl_fionbio(&socket, true).expect("a socket that does not block");
            if connect(socket.as_raw_fd(), &address(&lan, 0).expect("an address")) == Err(Errno::EAGAIN) {
                break;
            }
            waiting.push(socket);
        }
        assert!(Connection::find(&lan).expect("an answer").is_none());
    }
}
