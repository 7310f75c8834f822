//! The process that holds a LAN: it has the other ends of all links, and ends when nobody asks for it any more.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime},
};

use chain::{Doing, Error, Result, errno};
use nix::{
    errno::Errno,
    sys::socket::{SockFlag, accept4},
};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::{read, write},
    time::{ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime},
};

use crate::{
    engine::{self, Queues},
    frame,
    hosts::{self, Hosts},
    interface::{Other, Route, set_carrier},
    lane::Nanos,
    message::{self, Answer, Ask, Kernel, Member},
    names::{is_ours, peer},
    pcap::Pcap,
    script::Step,
    switch::{Far, Id, Passed, Switch, Who},
    words::{self, Condition, Net, Word},
    world::World,
};

/// Frames that are taken from one interface before others have their turn.
const AT_ONCE: usize = 64;

/// A link's, if it is not said.
const USUAL_MTU: u32 = 1500;

/// Where addresses come from that nobody has named: 10.86.0.0/16.
const SUBNET: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 86, 0, 0), 16);

/// The other end of a box's interface.
struct Wire {
    /// None if they do not come here.
    frames: Option<OwnedFd>,
    other: Option<Other>,
    /// Addresses that the other interface loses when it is down.
    nets: Vec<Net>,
    world: Option<World>,
    queues: Option<Queues>,
    engine_error: RefCell<Option<Error>>,
    pcap: Option<Pcap>,
    pcap_error: Option<String>,
}

impl Wire {
    fn record(&mut self, done: impl FnOnce(&mut Pcap) -> std::io::Result<()>) {
        if let Some(Err(error)) = self.pcap.as_mut().map(done) {
            self.pcap_error = Some(match error.kind() {
                ErrorKind::WouldBlock => "who reads it is too slow; what came then is missing".into(),
                _ => error.to_string(),
            });
            self.pcap = None;
        }
    }
}

impl Far for Wire {
    fn deliver(&mut self, frame: &[u8]) -> bool {
        self.frames.as_ref().is_some_and(|frames| write(frames, frame).is_ok())
    }

    fn lead_out(&mut self, frame: &[u8]) -> bool {
        self.world.as_mut().is_some_and(|world| world.send(frame))
    }

    fn see(&mut self, frame: &[u8]) {
        self.record(|pcap| pcap.add(frame, SystemTime::now()));
    }

    fn carrier(&mut self, is_on: bool) {
        set_carrier(self.frames.as_ref().map(AsFd::as_fd), self.other.as_ref(), is_on);
        if let (true, Some(other)) = (is_on, &self.other) {
            for net in self.nets.iter().filter(|net| net.address.is_ipv6()) {
                // It is missed by those who look, and by those who use it.
                let _ = other.route.add_address(&other.name, *net);
            }
        }
    }

    fn shape(&mut self, condition: &Condition) -> bool {
        let (Some(queues), Some(other)) = (&mut self.queues, &self.other) else { return false };
        self.engine_error.replace(queues.set(&other.route, condition).err());
        true
    }

    fn add_to(&self, passed: &mut Passed) {
        let (Some(queues), Some(other)) = (&self.queues, &self.other) else { return };
        if let Err(error) = queues.add_to(&other.route, passed) {
            self.engine_error.replace(Some(error));
        }
    }
}

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
    clients: BTreeMap<u32, Client>,
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
            clients: BTreeMap::new(),
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
        let next = self.switch.next_time();
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

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let flags = SockFlag::SOCK_CLOEXEC;
        let Ok(socket) = accept4(listener, flags) else { return };
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
        let whose = self.clients.iter().find(|(_, client)| client.links.contains(&id));
        if let Some(number) = whose.map(|(number, _)| *number) {
            let _ = self.say(number, &[Answer::NoWayOut]);
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

    fn answer(&mut self, number: u32, ask: Ask, descriptors: Vec<OwnedFd>) -> Result<Vec<Answer>> {
        match ask {
            Ask::Hello => Ok(vec![Answer::Done]),
            Ask::Join { words, steps, is_host, other, kernel, has_hosts } => {
                let words = words::parse(words.iter().map(String::as_str))?;
                let (wire, copy) = wire(descriptors, other, kernel.as_ref(), has_hosts, &words)?;
                self.join(number, wire, copy, &words, &steps, is_host).map(|answer| vec![answer])
            }
            Ask::Change { of, words } => self.change(of.as_deref(), &words).map(|()| vec![Answer::Done]),
            Ask::LeadOut => self.lead_out(number, descriptors).map(|()| vec![Answer::Done]),
            Ask::Own => {
                let links =
                    self.clients.get(&number).map(|client| client.links.as_slice()).unwrap_or_default();
                Ok(self.members(|id| links.contains(&id)))
            }
            Ask::Members => Ok(self.members(|_| true)),
            Ask::Leave => {
                // Each is told of while it is known whose it is.
                let links = self.clients.get(&number).map(|client| client.links.clone()).unwrap_or_default();
                let answers = self.members(|id| links.contains(&id));
                for id in links {
                    self.remove(id);
                }
                if let Some(client) = self.clients.get_mut(&number) {
                    client.links.clear();
                }
                Ok(answers)
            }
        }
    }

    fn lead_out(&mut self, number: u32, descriptors: Vec<OwnedFd>) -> Result<()> {
        let doing = || "lead the box out".to_owned();
        let id = self.clients.get(&number).and_then(|client| client.links.last().copied());
        let wire = id.and_then(|id| self.switch.far(id));
        let (Some(id), Some(wire), Some(socket)) = (id, wire, descriptors.into_iter().next()) else {
            return Err(Error::new(doing(), "no link, or no way"));
        };
        epoll::add(&self.epoll, &socket, Source::World(id).data(), EventFlags::IN).doing(doing)?;
        wire.world = Some(World::new(socket));
        Ok(())
    }

    fn join(
        &mut self,
        number: u32,
        wire: Wire,
        copy: Option<hosts::Copy>,
        words: &[Word],
        steps: &[(u64, Vec<String>)],
        is_host: bool,
    ) -> Result<Answer> {
        let steps = steps.iter().map(|(after, words)| {
            let words = words::parse(words.iter().map(String::as_str))?;
            Ok(Step { after: Duration::from_nanos(*after), words })
        });
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let mut condition = Condition::default();
        let mut who = Who { name: None, nets: Vec::new() };
        let mut seed = None;
        for word in words {
            match word {
                Word::Ip(net) => who.nets.push(*net),
                Word::Name(name) => who.name = Some(name.0.clone()),
                Word::Seed(number) => seed = Some(*number),
                word => condition.change(word),
            }
        }
        if who.nets.is_empty() {
            who.nets.push(self.free_net()?);
        }
        self.check_is_new(&who)?;
        if is_host {
            who.name = None;
            condition = Condition::default();
        }
        let seed = seed.map_or_else(drawn, Ok)?;
        let nets = who.nets.iter().map(Net::to_string).collect();
        let id = self.switch.add(who.clone(), wire, condition, seed, steps, now());
        let told = self.hosts.add(id, &who, copy).doing(|| "tell the box the names of the others".into());
        if let Err(error) = self.watch(id).and(told) {
            self.remove(id);
            return Err(error);
        }
        if let Some(client) = self.clients.get_mut(&number) {
            client.links.push(id);
        }
        Ok(Answer::Joined { nets })
    }

    fn remove(&mut self, id: Id) {
        self.switch.remove(id);
        self.hosts.remove(id);
    }

    /// Has the frames of a link that has been added looked at.
    fn watch(&self, id: Id) -> Result<()> {
        self.obeyed(id)?;
        match self.switch.far_of(id).and_then(|wire| wire.frames.as_ref()) {
            Some(frames) => epoll::add(&self.epoll, frames, Source::Link(id).data(), EventFlags::IN)
                .doing(|| "join the LAN".into()),
            None => Ok(()),
        }
    }

    /// Whether the kernel has done what was asked of it last.
    fn obeyed(&self, id: Id) -> Result<()> {
        match self.switch.far_of(id).and_then(|wire| wire.engine_error.take()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Two boxes with one name or address would take each other's packets.
    fn check_is_new(&self, who: &Who) -> Result<()> {
        let names = || who.nets.iter().map(|net| net.address.to_string()).chain(who.name.clone());
        for (id, other, ..) in self.switch.members() {
            if let Some(taken) = names().find(|name| other.is(name)) {
                let error = Error::new(taken, "another box of the LAN has it");
                return Err(error.hint(format!("its supervisor is process {}", self.pid_of(id))));
            }
        }
        Ok(())
    }

    /// The supervisor of a link's box.
    fn pid_of(&self, id: Id) -> i32 {
        self.clients.values().find(|client| client.links.contains(&id)).map_or(0, |client| client.pid)
    }

    fn free_net(&self) -> Result<Net> {
        let (first, prefix) = SUBNET;
        let is_taken = |address: IpAddr| {
            self.switch.members().any(|(_, who, ..)| who.nets.iter().any(|net| net.address == address))
        };
        let hosts = (1..0xffff_u32).map(|host| IpAddr::V4((u32::from(first) + host).into()));
        let free = hosts.into_iter().find(|address| !is_taken(*address));
        let address =
            free.ok_or_else(|| Error::new("ip", "no address is free").hint("name one: ip=ADDRESS/PREFIX"))?;
        Ok(Net { address, prefix })
    }

    fn change(&mut self, of: Option<&str>, words: &[String]) -> Result<()> {
        let words = words::parse(words.iter().map(String::as_str))?;
        let members: Vec<_> = self.switch.members().map(|(id, who, ..)| (id, who.clone())).collect();
        let ids: Vec<Id> = match of {
            None => members.iter().map(|(id, _)| *id).collect(),
            Some(name) => {
                let found = members.iter().find(|(_, who)| who.is(name)).map(|(id, _)| *id);
                let there: Vec<_> = members.iter().map(|(_, who)| who.label()).collect();
                let error = || {
                    Error::new(name, "no such box in the LAN").hint(format!("there are {}", there.join(", ")))
                };
                vec![found.ok_or_else(error)?]
            }
        };
        for word in &words {
            if let Word::Partition(parts) = word {
                let missing =
                    parts.iter().flatten().find(|name| !members.iter().any(|(_, who)| who.is(name)));
                if let Some(name) = missing {
                    return Err(Error::new(word.to_string(), format!("no box of the LAN is called {name}")));
                }
            }
        }
        let mut before = Vec::new();
        for (id, _, condition, _) in self.switch.members().filter(|(id, ..)| ids.contains(id)) {
            before.push((id, condition));
            if self.switch.far_of(id).is_some_and(|wire| wire.queues.is_some()) {
                let mut after = condition;
                after.change_all(&words);
                engine::check(&after, false)?;
            }
        }
        for (id, condition) in before {
            self.switch.change(Some(id), &words);
            if let Err(error) = self.obeyed(id) {
                self.switch.restore(id, condition);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Those that are wanted, and an end.
    fn members(&self, wanted: impl Fn(Id) -> bool) -> Vec<Answer> {
        let members =
            self.switch.members().filter(|(id, ..)| wanted(*id)).map(|(id, who, condition, passed)| {
                Answer::Member(Box::new(Member {
                    name: who.name.clone(),
                    addresses: who.nets.iter().map(Net::to_string).collect(),
                    pid: self.pid_of(id),
                    link: condition.words().iter().map(Word::to_string).collect(),
                    passed,
                    pcap_error: self.switch.far_of(id).and_then(|wire| wire.pcap_error.clone()),
                    engine_error: self
                        .switch
                        .far_of(id)
                        .and_then(|wire| wire.engine_error.borrow().as_ref().map(Error::to_string)),
                }))
            });
        members.chain([Answer::Done]).collect()
    }
}

/// What the descriptors of a box are.
fn wire(
    descriptors: Vec<OwnedFd>,
    other: Option<String>,
    kernel: Option<&Kernel>,
    has_hosts: bool,
    words: &[Word],
) -> Result<(Wire, Option<hosts::Copy>)> {
    let missing = || Error::new("join the LAN", "no interface");
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(missing);
    let is_alone = kernel.is_some_and(|kernel| kernel.is_alone);
    let frames = if is_alone { None } else { Some(next()?) };
    if let Some(frames) = &frames {
        rustix::io::ioctl_fionbio(frames, true).map_err(|_| missing())?;
    }
    let of = |name| Ok::<_, Error>(Other { route: Route::from_descriptor(next()?), name });
    let other = other.map(of).transpose()?;
    let queues = match (kernel, &other) {
        (Some(kernel), Some(other)) => {
            let near = Route::from_descriptor(descriptors.next().ok_or_else(missing)?);
            let mtu = words.iter().find_map(|word| if let Word::Mtu(mtu) = word { Some(*mtu) } else { None });
            let far = (&other.route, other.name.as_str());
            Some(Queues::new((near, &kernel.name), far, mtu.unwrap_or(USUAL_MTU), is_alone)?)
        }
        _ => None,
    };
    let nets = kernel.iter().flat_map(|kernel| &kernel.nets).map(|net| net.parse());
    let nets = nets.collect::<Result<_, String>>().map_err(|why| Error::new("join the LAN", why))?;
    let copy = if has_hosts { descriptors.next().map(hosts::Copy::new).transpose()? } else { None };
    let pcap = descriptors.next().map(|file| Pcap::new(File::from(file))).transpose();
    let (pcap, pcap_error) = pcap.map_or_else(|error| (None, Some(error.to_string())), |pcap| (pcap, None));
    let engine_error = RefCell::new(None);
    let wire = Wire { frames, other, nets, world: None, queues, engine_error, pcap, pcap_error };
    Ok((wire, copy))
}

fn refused(error: &Error) -> Answer {
    let (doing, why, hint) = error.parts();
    Answer::Refused { doing, why, hint }
}

/// A seed that nobody knows.
fn drawn() -> Result<u64> {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut bytes, flags).doing(|| "draw a seed".into())?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
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
