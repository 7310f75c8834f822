//! The names of LANs' sockets, and whose they are.
//!
//! An abstract name (unix(7)) anybody can take. So it has a number besides, the first one that is free, and the LAN of a
//! user is that of all of the name whose socket is the user's own, as the kernel tells (SO_PEERCRED). The user's number
//! cannot be in it: it is another one in each user namespace.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use chain::{Doing, Error, Result};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, UnixCredentials, bind, connect, getsockopt,
        listen, socket, sockopt::PeerCredentials,
    },
    unistd::Uid,
};

use crate::{
    lan::{Connection, doing, is_gone},
    message::Ask,
};

/// How the sockets' names begin; a number and the LAN's name follow.
const PREFIX: &str = "chainbox-lan/";

/// How long those together may take to be reached who have no room for one more. Thousands can wait at a time, and a
/// LAN's holder does nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long they are left alone in between.
const PAUSE: Duration = Duration::from_millis(5);

/// Who is at the other end.
pub(crate) fn peer(socket: &OwnedFd) -> Option<UnixCredentials> {
    getsockopt(socket, PeerCredentials).ok()
}

/// Whether the other end is this user's too.
pub(crate) fn is_ours(socket: &OwnedFd) -> bool {
    peer(socket).is_some_and(|peer| peer.uid() == Uid::effective().as_raw())
}

/// Who else of this user has begun a LAN of one name at the same moment. Each listens first and looks then, so of two
/// at least one sees the other; of two that see each other the one with the lower number stays.
pub(crate) enum Rivals {
    None,
    /// It has the LAN already.
    Holds(Connection),
    /// Its number is lower.
    IsFirst,
}

impl Rivals {
    pub(crate) fn of(lan: &str, own: u32) -> Result<Self> {
        let (lower, higher): (Vec<_>, Vec<_>) =
            numbers(lan)?.into_iter().filter(|number| *number != own).partition(|number| *number < own);
        if !ours(lan, &lower)?.is_empty() {
            return Ok(Self::IsFirst);
        }
        for socket in ours(lan, &higher)? {
            // It holds the LAN, or sees that it is not the first. It does not wait for us.
            if let Some(connection) = Connection::greet(socket)? {
                return Ok(Self::Holds(connection));
            }
        }
        Ok(Self::None)
    }
}

/// Where ids have no name they are all the same number, and nobody can be told from another.
pub(crate) fn check_who_we_are() -> Result<()> {
    if !chain::in_user_namespace() {
        return Ok(());
    }
    let nobody = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
    if nobody.trim().parse() == Ok(Uid::effective().as_raw()) {
        let why = "this user namespace has no number for the caller, by which whose a LAN is is told";
        return Err(Error::new("--lan", why).hint("make one that has: ns-enter user --"));
    }
    Ok(())
}

/// The numbers at which somebody listens who may hold a LAN of this name.
pub(crate) fn numbers(lan: &str) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    listeners(|number, name| {
        if name == lan {
            numbers.push(number);
        }
    })?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// Calls for each LAN's number and name, whoever's it is.
fn listeners(mut each: impl FnMut(u32, &str)) -> Result<()> {
    const LISTENS: &str = "00010000";
    const SEQPACKET: &str = "0005";
    let file = fs::File::open("/proc/net/unix").doing(|| "open /proc/net/unix".into())?;
    for line in BufReader::new(file).split(b'\n') {
        let line = line.doing(|| "read /proc/net/unix".into())?;
        // Another's name may be any bytes.
        let Ok(line) = std::str::from_utf8(&line) else { continue };
        let columns: Vec<_> = line.split_whitespace().collect();
        let &[_, _, _, LISTENS, SEQPACKET, _, _, path] = columns.as_slice() else { continue };
        // An @ is a zero byte.
        let name = path.strip_prefix('@').and_then(|path| path.strip_prefix(PREFIX));
        if let Some((number, name)) = name.and_then(|name| name.split_once('/'))
            && let Ok(number) = number.parse()
        {
            each(number, name);
        }
    }
    Ok(())
}

/// Connections to those of them who are this user.
pub(crate) fn ours(lan: &str, numbers: &[u32]) -> Result<Vec<OwnedFd>> {
    let all: Vec<_> = numbers.iter().map(|number| (*number, lan)).collect();
    Ok(reach(&all)?.into_iter().map(|(_, socket)| socket).collect())
}

/// The same for LANs of any names, which are told: all together take no longer than one may.
fn reach<'a>(all: &[(u32, &'a str)]) -> Result<Vec<(&'a str, OwnedFd)>> {
    let until = Instant::now() + PATIENCE;
    let (mut ours, mut full) = (Vec::new(), all.to_vec());
    loop {
        let mut still_full = Vec::new();
        for (number, lan) in full {
            let socket = new_socket()?;
            rustix::io::ioctl_fionbio(&socket, true).doing(doing)?;
            match connect(socket.as_raw_fd(), &address(lan, number)?) {
                Ok(()) if is_ours(&socket) => {
                    rustix::io::ioctl_fionbio(&socket, false).doing(doing)?;
                    ours.push((lan, socket));
                }
                Err(Errno::EAGAIN) => still_full.push((number, lan)),
                // Another user's, or nobody's any more.
                _ => {}
            }
        }
        full = still_full;
        // It may be ours though others crowd at it, or another's who takes no one in. The kernel tells nobody when there is
        // room (connect(2), EAGAIN).
        if full.is_empty() || Instant::now() >= until {
            return Ok(ours);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The LANs of this user, and those of them whose holders do not answer. All are asked before any is waited for.
pub(crate) fn all() -> Result<(BTreeSet<String>, Vec<String>)> {
    if check_who_we_are().is_err() {
        return Ok((BTreeSet::new(), Vec::new()));
    }
    let mut found = Vec::new();
    listeners(|number, name| found.push((number, name.to_owned())))?;
    let found: Vec<_> = found.iter().map(|(number, name)| (*number, name.as_str())).collect();
    let asked = reach(&found)?.into_iter().filter_map(|(name, socket)| {
        let connection = Connection::to(socket);
        connection.send(&Ask::Hello, &[]).is_ok().then_some((name, connection))
    });
    let asked: Vec<_> = asked.collect();
    let until = Instant::now() + PATIENCE;
    let (mut names, mut silent) = (BTreeSet::new(), Vec::new());
    for (name, connection) in asked {
        match connection.answer(until.saturating_duration_since(Instant::now())) {
            Ok(_) => drop(names.insert(name.to_owned())),
            Err(error) if is_gone(&error) => {}
            Err(error) => silent.push(format!("LAN {name}: {error}")),
        }
    }
    Ok((names, silent))
}

fn new_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .doing(|| "make a socket".into())
}

fn address(lan: &str, number: u32) -> Result<UnixAddr> {
    UnixAddr::new_abstract(format!("{PREFIX}{number}/{lan}").as_bytes()).doing(|| format!("--lan {lan}"))
}

/// A socket with the LAN's name and the first number that is free.
pub(crate) fn listen_at_a_free(lan: &str) -> Result<(u32, OwnedFd)> {
    let doing = || format!("--lan {lan}");
    let socket = new_socket()?;
    for number in 0..u32::MAX {
        match bind(socket.as_raw_fd(), &address(lan, number)?) {
            Ok(()) => {
                listen(&socket, Backlog::MAXCONN).doing(doing)?;
                return Ok((number, socket));
            }
            Err(Errno::EADDRINUSE) => {}
            Err(errno) => return Err(errno).doing(doing),
        }
    }
    Err(Error::new(doing(), "others have all of its numbers").hint("choose another name"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::message::{self, Answer, Ask};
    use nix::unistd::getpid;

    fn listener(lan: &str, number: u32) -> OwnedFd {
        let socket = new_socket().expect("a socket");
        bind(socket.as_raw_fd(), &address(lan, number).expect("an address")).expect("a name");
        listen(&socket, Backlog::MAXCONN).expect("a queue");
        socket
    }

    #[test]
    fn names_that_are_taken_in_another_way_are_passed_over() {
        let lan = format!("test-taken-{}", getpid());
        let silent = new_socket().expect("a socket");
        bind(silent.as_raw_fd(), &address(&lan, 0).expect("an address")).expect("a name");
        let flags = SockFlag::SOCK_CLOEXEC;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket");
        bind(stream.as_raw_fd(), &address(&lan, 5).expect("an address")).expect("a name");
        listen(&stream, Backlog::MAXCONN).expect("a queue");
        assert!(Connection::find(&lan).expect("an answer").is_none());
        let (number, _socket) = listen_at_a_free(&lan).expect("a socket");
        assert_eq!((number, numbers(&lan).expect("numbers")), (1, vec![1]));
    }

    #[test]
    fn of_two_who_begin_at_the_same_moment_the_lower_number_stays() {
        let lan = format!("test-rivals-{}", getpid());
        let (low, high) = (listener(&lan, 3), listener(&lan, 7));
        assert!(matches!(Rivals::of(&lan, 7).expect("an answer"), Rivals::IsFirst));
        // The lower one waits until the higher one has seen that.
        let waits = std::thread::spawn({
            let lan = lan.clone();
            move || Rivals::of(&lan, 3)
        });
        drop(high);
        assert!(matches!(waits.join().expect("no panic").expect("an answer"), Rivals::None));
        drop(low);
    }

    #[test]
    fn who_begins_after_another_sees_it_whatever_the_numbers() {
        let lan = format!("test-late-{}", getpid());
        let there = listener(&lan, 7);
        let holds = std::thread::spawn(move || {
            let client = nix::sys::socket::accept4(&there, SockFlag::SOCK_CLOEXEC).expect("a client");
            message::receive::<Ask>(client.as_fd()).expect("a question");
            message::send(client.as_fd(), &Answer::Done, &[]).expect("an answer");
        });
        let _own = listener(&lan, 3);
        assert!(matches!(Rivals::of(&lan, 3).expect("an answer"), Rivals::Holds(_)));
        holds.join().expect("no panic");
    }

    #[test]
    fn who_has_the_name_and_takes_no_one_in_is_passed_by() {
        let lan = format!("test-full-{}", getpid());
        let taken = listener(&lan, 0);
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

    #[test]
    fn many_who_take_no_one_in_are_waited_for_together() {
        let lan = format!("test-many-full-{}", getpid());
        let mut all = Vec::new();
        for number in 0..10 {
            let taken = listener(&lan, number);
            listen(&taken, Backlog::new(0).expect("a length")).expect("a queue");
            let first = new_socket().expect("a socket");
            connect(first.as_raw_fd(), &address(&lan, number).expect("an address")).expect("room for one");
            all.push((taken, first));
        }
        let there = listener(&lan, 10);
        let numbers: Vec<_> = (0..=10).map(|number| (number, lan.as_str())).collect();
        let begun = Instant::now();
        assert_eq!(reach(&numbers).expect("an answer").len(), 1);
        // One after the other they would take ten times as long.
        assert!(begun.elapsed() < 5 * PATIENCE, "{:?}", begun.elapsed());
        drop(there);
    }

    #[test]
    fn who_is_let_in_late_is_reached() {
        let lan = format!("test-late-room-{}", getpid());
        let there = listener(&lan, 0);
        listen(&there, Backlog::new(0).expect("a length")).expect("a queue");
        let first = new_socket().expect("a socket");
        connect(first.as_raw_fd(), &address(&lan, 0).expect("an address")).expect("room for one");
        let reaches = std::thread::spawn({
            let lan = lan.clone();
            move || ours(&lan, &[0]).expect("an answer").len()
        });
        nix::sys::socket::accept4(&there, SockFlag::SOCK_CLOEXEC).expect("the first one");
        assert_eq!(reaches.join().expect("no panic"), 1);
    }
}
