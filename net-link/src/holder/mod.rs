//! The process that holds a LAN: it has the other ends of all links, and ends when nobody asks for it any more.

mod answers;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::{AsFd, OwnedFd},
};

use chain::{Error, errno};
use nix::{
    errno::Errno,
    sys::socket::{SockFlag, accept4},
};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::read,
    time::{ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime},
};

use wire::Wire;

use crate::{
    frame,
    hosts::Hosts,
    lane::Nanos,
    message::{self, Answer, Ask},
    names::{is_ours, peer},
    pcap::Pcap,
    switch::{Id, Switch},
};

/// Frames that are taken from one interface before others have their turn.
const AT_ONCE: usize = 64;

/// After which nobody is taken in for want of descriptors before it is tried again: a tenth of a second.
const PAUSE: Nanos = 100_000_000;

/// Who asks.
struct Client {
    socket: OwnedFd,
    /// The supervisor of a box.
    pid: i32,
    links: Vec<Id>,
    /// Answers that it has not taken yet.
    answers: VecDeque<Vec<u8>>,
}

/// What a descriptor that is ready belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener,
    Timer,
    Client(u32),
    Link(Id),
    World(Id),
}

impl Source {
    fn data(self) -> EventData {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Timer => (1, 0),
            Self::Client(number) => (2, number),
            Self::Link(id) => (3, id),
            Self::World(id) => (4, id),
        };
        EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn of(data: EventData) -> Self {
        let number = u32::try_from(data.u64() & u64::from(u32::MAX)).unwrap_or(0);
        match data.u64() >> 32 {
            0 => Self::Listener,
            1 => Self::Timer,
            2 => Self::Client(number),
            3 => Self::Link(number),
            _ => Self::World(number),
        }
    }
}

pub(crate) struct Holder {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer is set to.
    armed: Option<Nanos>,
    listener: Option<OwnedFd>,
    /// When it is looked at again, if it is not meanwhile.
    listens_again: Option<Nanos>,
    clients: BTreeMap<u32, Client>,
    /// Who is let go when.
    leaving: Vec<(Nanos, u32)>,
    next_client: u32,
    switch: Switch<Wire>,
    hosts: Hosts,
}

fn now() -> Nanos {
    nanos(clock_gettime(ClockId::Monotonic))
}

fn nanos(time: Timespec) -> Nanos {
    let of = |number: i64| u64::try_from(number).unwrap_or(0);
    of(time.tv_sec) * 1_000_000_000 + of(time.tv_nsec)
}

impl Holder {
    /// A LAN with one client, which others reach by `listener`.
    pub(crate) fn new(first: OwnedFd, pid: i32, listener: Option<OwnedFd>) -> rustix::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, Source::Timer.data(), EventFlags::IN)?;
        if let Some(listener) = &listener {
            epoll::add(&epoll, listener, Source::Listener.data(), EventFlags::IN)?;
        }
        let mut holder = Self {
            epoll,
            timer,
            armed: None,
            listener,
            listens_again: None,
            clients: BTreeMap::new(),
            leaving: Vec::new(),
            next_client: 0,
            switch: Switch::new(),
            hosts: Hosts::default(),
        };
        holder.add_client(first, pid)?;
        Ok(holder)
    }

    /// Returns when the last client has gone.
    pub(crate) fn run(mut self) -> rustix::io::Result<()> {
        let mut events = Vec::with_capacity(64);
        let mut buffer = vec![0; frame::MOST];
        while !self.clients.is_empty() {
            self.switch.run(now());
            self.tell_notes();
            self.let_go();
            self.listen_again();
            self.set_timer()?;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            for event in events.drain(..) {
                match Source::of(event.data) {
                    Source::Listener => self.accept(),
                    Source::Timer => {
                        let _ = read(&self.timer, &mut [0_u8; 8][..]);
                        self.armed = None;
                    }
                    Source::Client(number) => self.serve(number, event.flags),
                    Source::Link(id) => self.take(id, &mut buffer),
                    Source::World(id) => self.take_from_world(id),
                }
            }
        }
        Ok(())
    }

    fn set_timer(&mut self) -> rustix::io::Result<()> {
        let leaving = self.leaving.iter().map(|(at, _)| *at);
        let next = self.switch.next_time().into_iter().chain(self.listens_again).chain(leaving).min();
        if next == self.armed {
            return Ok(());
        }
        // Zero would mean never.
        let at = next.map_or(0, |next| next.max(1));
        let of = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let value = Timespec { tv_sec: of(at / 1_000_000_000), tv_nsec: of(at % 1_000_000_000) };
        let setting = Itimerspec { it_interval: Timespec::default(), it_value: value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.armed = next;
        Ok(())
    }

    fn listen_again(&mut self) {
        if self.listens_again.is_some_and(|at| at <= now()) {
            self.listens_again = None;
            if let Some(listener) = &self.listener {
                let _ = epoll::modify(&self.epoll, listener, Source::Listener.data(), EventFlags::IN);
            }
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = match accept4(listener, flags) {
            Ok(socket) => socket,
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                // Who waits there would wake this process again and again.
                let _ = epoll::modify(&self.epoll, listener, Source::Listener.data(), EventFlags::empty());
                self.listens_again = Some(now() + PAUSE);
                return;
            }
            Err(_) => return,
        };
        // Anybody can connect to such a socket; only the LAN's owner is listened to.
        if is_ours(&socket) {
            let pid = peer(&socket).map_or(0, |peer| peer.pid());
            let _ = self.add_client(socket, pid);
        }
    }

    fn add_client(&mut self, socket: OwnedFd, pid: i32) -> rustix::io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let number = self.next_client;
        self.next_client += 1;
        epoll::add(&self.epoll, &socket, Source::Client(number).data(), EventFlags::IN)?;
        self.clients.insert(number, Client { socket, pid, links: Vec::new(), answers: VecDeque::new() });
        Ok(())
    }

    /// What is still to be read of what boxes have sent; not for ever, as they may send on.
    fn take_all(&mut self, links: &[Id]) {
        let mut buffer = vec![0; frame::MOST];
        for id in links {
            for _ in 0..AT_ONCE {
                self.take(*id, &mut buffer);
            }
        }
    }

    /// All frames that a box has sent, or many of them.
    fn take(&mut self, id: Id, buffer: &mut [u8]) {
        for _ in 0..AT_ONCE {
            let Some(wire) = self.switch.far(id) else { return };
            let Some(frames) = &wire.frames else { return };
            match read(frames, &mut *buffer) {
                Ok(bytes) if bytes > 0 => self.switch.receive(id, &buffer[..bytes], now()),
                // The other interface of a pair says once that it has been set down.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NETDOWN) => break,
                // The interface is gone, with its namespace.
                _ => {
                    let _ = epoll::delete(&self.epoll, frames);
                    return;
                }
            }
        }
        if let Some(wire) = self.switch.far(id) {
            wire.record(Pcap::flush);
        }
    }

    /// What the world has for a box.
    fn take_from_world(&mut self, id: Id) {
        let Some(mut world) = self.switch.far(id).and_then(|wire| wire.world.take()) else { return };
        let came = world.receive(|frame| self.switch.come_in(id, frame, now()));
        let Some(wire) = self.switch.far(id) else { return };
        wire.record(Pcap::flush);
        if came.is_ok() {
            wire.world = Some(world);
            return;
        }
        let _ = epoll::delete(&self.epoll, &world.socket);
        self.say_to_owner(id, Answer::NoWayOut);
    }

    /// What scripts could not do.
    fn tell_notes(&mut self) {
        for (id, note) in self.switch.take_notes() {
            self.say_to_owner(id, Answer::Note(note));
        }
    }

    fn say_to_owner(&mut self, id: Id, answer: Answer) {
        let whose = self.clients.iter().find(|(_, client)| client.links.contains(&id));
        if let Some(number) = whose.map(|(number, _)| *number) {
            let _ = self.say(number, &[answer]);
        }
    }

    fn serve(&mut self, number: u32, flags: EventFlags) {
        let gone = match self.clients.get(&number) {
            None => return,
            Some(_) if flags.contains(EventFlags::OUT) => self.flush(number).is_err(),
            Some(client) => match message::receive::<Ask>(client.socket.as_fd()) {
                Ok(Some((ask, descriptors))) => {
                    let answers =
                        self.answer(number, ask, descriptors).unwrap_or_else(|error| vec![refused(&error)]);
                    self.say(number, &answers).is_err()
                }
                Err(Errno::EAGAIN | Errno::EINTR) => false,
                Ok(None) | Err(_) => true,
            },
        };
        if gone {
            self.drop_client(number);
        }
    }

    fn drop_client(&mut self, number: u32) {
        let Some(client) = self.clients.remove(&number) else { return };
        for id in &client.links {
            self.remove(*id);
        }
        if self.clients.is_empty() {
            // Who is about to come finds nobody here, and begins a LAN anew.
            self.listener = None;
            let _ = message::send(client.socket.as_fd(), &Answer::Ended, &[]);
            // Its socket is closed when this process is gone, which it waits for.
            std::mem::forget(client);
        }
    }

    fn say(&mut self, number: u32, answers: &[Answer]) -> nix::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        for answer in answers {
            client.answers.push_back(serde_json::to_vec(answer).map_err(|_| Errno::EINVAL)?);
        }
        self.flush(number)
    }

    /// Sends what the client takes now; the rest when it takes more.
    fn flush(&mut self, number: u32) -> nix::Result<()> {
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        while let Some(answer) = client.answers.front() {
            match message::send_text(client.socket.as_fd(), answer, &[]) {
                Ok(()) => drop(client.answers.pop_front()),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // Who does not take its answers is not asked what else it wants.
        let wanted = if client.answers.is_empty() { EventFlags::IN } else { EventFlags::OUT };
        epoll::modify(&self.epoll, &client.socket, Source::Client(number).data(), wanted).map_err(errno)
    }
}

fn refused(error: &Error) -> Answer {
    let (doing, why, hint) = error.parts();
    Answer::Refused { doing, why, hint }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use super::*;
    use nix::sys::socket::{AddressFamily, SockType, socketpair};

    /// A LAN, and a connection to it.
    fn lan() -> (Holder, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (ours, theirs) = pair.expect("a pair of sockets");
        (Holder::new(theirs, 0, None).expect("a LAN"), ours)
    }

    #[test]
    fn who_cannot_be_listened_to_is_not_in_the_lan() {
        let (mut holder, _ours) = lan();
        // epoll(7) takes no plain file.
        let ask = Ask::Join {
            words: Vec::new(),
            steps: Vec::new(),
            is_host: false,
            other: None,
            kernel: None,
            has_hosts: false,
        };
        let file = OwnedFd::from(File::open("/proc/self/exe").expect("a file"));
        let refused = holder.answer(0, ask, vec![file]).expect_err("refused");
        assert_eq!(refused.errno(), Some(Errno::EPERM));
        assert_eq!(holder.switch.members().count(), 0);
    }

    #[test]
    fn what_a_client_keeps_of_a_link_that_it_has_left_wakes_nobody() {
        let (mut holder, _ours) = lan();
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (frames, theirs) = pair.expect("a pair of sockets");
        let kept = theirs.try_clone().expect("a copy");
        let ask = Ask::Join {
            words: vec!["ip=10.9.0.1/24".into()],
            steps: Vec::new(),
            is_host: false,
            other: None,
            kernel: None,
            has_hosts: false,
        };
        holder.answer(0, ask, vec![theirs]).expect("joined");
        holder.answer(0, Ask::Leave { arrives: true }, Vec::new()).expect("left");
        nix::unistd::write(&frames, b"a frame").expect("sent");
        let mut events = Vec::with_capacity(8);
        let moment = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&holder.epoll, spare_capacity(&mut events), Some(&moment)).expect("events");
        assert!(events.is_empty());
        drop(kept);
    }

    #[test]
    fn who_asks_without_listening_has_to_wait() {
        let (holder, ours) = lan();
        let held = std::thread::spawn(|| holder.run());
        rustix::io::ioctl_fionbio(&ours, true).expect("a socket that does not block");
        let mut asked = 0;
        // It is let ask on while it is not known yet that it does not listen.
        let waits = |asked: &i32| {
            std::thread::sleep(Duration::from_millis(50));
            assert!(*asked < 100_000, "it is never told to wait");
            message::send(ours.as_fd(), &Ask::Members, &[]) == Err(Errno::EAGAIN)
        };
        while message::send(ours.as_fd(), &Ask::Members, &[]).is_ok() || !waits(&asked) {
            asked += 1;
        }
        rustix::io::ioctl_fionbio(&ours, false).expect("a socket that blocks");
        for _ in 0..asked {
            let answer = message::receive::<Answer>(ours.as_fd()).expect("an answer");
            assert!(matches!(answer, Some((Answer::Done, _))), "{answer:?}");
        }
        drop(ours);
        held.join().expect("no panic").expect("an end");
    }
}
