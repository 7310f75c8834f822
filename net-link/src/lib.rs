//! A network of its own as a link of a chain, which leads to other boxes or to the caller, and can be as bad as a real
//! one: network_namespaces(7), the kernel's networking/tuntap.rst, tc-netem(8).
//!
//! The box has one interface, a TAP device or one of a pair. Its other end is held by a process of ours, the holder, which is the
//! switch of a LAN and does to each packet what the box's settings say; or, if that is the kernel's to do and there is no
//! LAN, in the caller's network namespace, and the holder only changes what the kernel does.
//!
//! | file | holds |
//! | --- | --- |
//! | `args.rs`, `words.rs`, `quality.rs`, `script.rs` | what is typed |
//! | `sense.rs` | what can be typed and makes no sense |
//! | `lane.rs` | what becomes of the packets of one direction |
//! | `engine.rs`, `qdisc.rs` | the same done by the kernel |
//! | `switch.rs`, `frame.rs` | the way of a frame through a LAN |
//! | `holder.rs` | the process that has all the other ends |
//! | `hosts.rs`, `etc.rs` | the names of boxes, as each box sees them |
//! | `lan.rs`, `names.rs`, `message.rs` | how it is begun, found and spoken to |
//! | `sides.rs`, `interface.rs`, `address.rs`, `taken.rs` | both ends: TAP devices, addresses and routes |
//! | `way_out.rs`, `passt.rs`, `world.rs`, `gateway.rs`, `publish.rs` | the way out to the world |
//! | `pcap.rs`, `account.rs` | what is told |

mod account;
mod address;
mod args;
mod engine;
mod etc;
mod frame;
mod gateway;
mod holder;
mod hosts;
mod interface;
mod lan;
mod lane;
mod message;
mod names;
mod passt;
mod pcap;
mod publish;
mod qdisc;
mod quality;
mod script;
mod sense;
mod sides;
mod switch;
mod taken;
mod way_out;
mod words;
mod world;

pub use args::{Args, Place, Way};
pub use engine::Engine;
pub use publish::{Protocol, Publish};
pub use quality::{Chance, Delay, Loss, Quality, Rate, Shape, Trait};
pub use words::{Direction, Name, Net, State, Word, settings};

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    net::IpAddr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use chain::{Birth, Doing, Ended, Ending, Error, Launch, Link, Remedy, ReportFile, Result};
use nix::{errno::Errno, fcntl::OFlag, sched::CloneFlags, unistd::Pid};

use crate::{
    address::pairs,
    interface::{Pair, Route},
    lan::Connection,
    message::{Answer, Ask, Member},
    script::Step,
    sides::set_up,
    way_out::WayOut,
    words::Condition,
};

/// What the box's interface is called.
const INTERFACE: &str = "eth0";

/// NEXT in a network of its own.
#[derive(Debug)]
pub struct NetLink {
    place: Place,
    words: Vec<Word>,
    steps: Vec<Step>,
    pcap: Option<File>,
    /// The caller's /etc/hosts, if the box is to have one of its own.
    hosts: Option<Vec<u8>>,
    way_out: Option<WayOut>,
    report: Option<ReportFile>,
    connection: Option<Connection>,
    /// The caller's interface, if it is one of a pair: the kernel takes it away some time after the other one.
    host_side: Option<(Route, u32)>,
    /// A link that only the kernel is in between of, and the addresses of the caller's end.
    pair: Option<(Pair, Vec<Net>)>,
    /// The child has its link, and nothing more is asked until NEXT has ended.
    is_entered: bool,
    /// What the box's side is told of its addresses, if nobody else is.
    given: Vec<Word>,
}

impl NetLink {
    /// A link that `words` tell of. Fails for words that are about a LAN that is there.
    pub fn new(place: Place, words: Vec<Word>) -> Result<Self> {
        if let Some(word) = words.iter().find(|word| word.is_of_lan()) {
            return Err(
                Error::new(word.to_string(), "this is about a LAN that is there").hint("use it with --set")
            );
        }
        if let Some(Word::Name(name)) = words.iter().find(|word| matches!(word, Word::Name(_)))
            && place.way.lan.is_none()
        {
            return Err(Error::new(format!("name={}", name.0), "nobody else is there").hint("add --lan LAN"));
        }
        if let Some(port) = place.way.publish.first().filter(|_| !place.way.up) {
            return Err(
                Error::new(format!("--publish {port}"), "nothing leads out of the box").hint("add --up")
            );
        }
        for (at, port) in place.way.publish.iter().enumerate() {
            let same = |other: &&Publish| (other.port, other.protocol) == (port.port, port.protocol);
            if let Some(other) = place.way.publish[..at].iter().find(same) {
                return Err(Error::new(
                    format!("--publish {port}"),
                    format!("this port is published by {other}"),
                ));
            }
        }
        sense::check_addresses(&words, place.way.up)?;
        let mut condition = Condition::default();
        condition.change_all(&words);
        condition.check(&words)?;
        if place.pcap.as_deref() == Some(Path::new("-")) {
            let error = Error::new("--pcap -", "stdout is the command's own");
            return Err(error.hint("name a file, such as ./-, or a pipe that tcpdump -r reads"));
        }
        if place.engine == Engine::Kernel {
            engine::check_words(&words)?;
            if place.way.up {
                let why = "what comes from the world and goes there passes a process, not the kernel alone";
                return Err(Error::new("--up with --engine kernel", why).hint("--engine user can"));
            }
            if place.pcap.is_some() {
                let why = "what the kernel drops and delays is not seen before that";
                return Err(Error::new("--pcap with --engine kernel", why).hint("--engine user can"));
            }
        }
        Ok(Self {
            place,
            words,
            steps: Vec::new(),
            pcap: None,
            hosts: None,
            way_out: None,
            report: None,
            connection: None,
            host_side: None,
            pair: None,
            is_entered: false,
            given: Vec::new(),
        })
    }

    fn nets(words: &[Word]) -> impl Iterator<Item = Net> {
        words.iter().filter_map(|word| match word {
            Word::Ip(net) => Some(*net),
            _ => None,
        })
    }

    fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.words.iter().chain(&self.given).filter_map(|word| match word {
            Word::Gateway(address) => Some(*address),
            _ => None,
        })
    }

    fn mtu(&self) -> Option<u32> {
        self.words.iter().find_map(|word| match word {
            Word::Mtu(bytes) => Some(*bytes),
            _ => None,
        })
    }

    /// Whether the box has a /etc/hosts of its own.
    fn tells_names(&self) -> bool {
        self.place.way.lan.is_some() && !self.place.way.no_hosts
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| Error::new("join the LAN", "it has ended"))
    }

    /// Fails if the link is to be what it cannot be, now or later.
    fn check_steps(&self) -> Result<()> {
        let mut condition = Condition::default();
        let steps = self.steps.iter().map(|step| (Some(step.after), &step.words));
        for (after, words) in std::iter::once((None, &self.words)).chain(steps) {
            condition.change_all(words);
            condition
                .check(words)
                .and_then(|()| match self.place.engine {
                    Engine::Kernel => engine::check_kernel(&condition, self.place.way.lan.is_none()),
                    Engine::User => engine::check_user(&condition),
                })
                .map_err(|error| match after {
                    Some(after) => error.within(&format!("--script: at {}", chain::Span(after))),
                    None => error,
                })?;
        }
        Ok(())
    }

    fn tell(&self, member: &Member) -> Result<()> {
        if self.place.stat {
            io::stderr().write_all(account::table(member).as_bytes()).doing(|| "--stat".into())?;
        }
        if let Some(report) = &self.report {
            report.write(&chain::json(member)?)?;
        }
        let failed = [("--pcap", &member.pcap_error), ("the link", &member.engine_error)];
        let failed = failed.into_iter().find_map(|(what, why)| Some((what, why.clone()?)));
        failed.map_or(Ok(()), |(what, why)| Err(Error::new(what, why)))
    }
}

impl Link for NetLink {
    fn name(&self) -> &'static str {
        "net-link"
    }

    fn words(&self) -> Vec<OsString> {
        let settings = self.words.iter().map(|word| word.to_string().into());
        self.place.words().into_iter().chain(settings).collect()
    }

    fn steps(&self) -> Vec<String> {
        let mut steps = vec!["make a new net namespace, with its loopback interface up".to_owned()];
        let leads = match &self.place.way.lan {
            Some(lan) => format!("the LAN {}, which is begun if it is not there", lan.0),
            None if self.place.way.up => "a process that holds its other end".into(),
            None => "the caller's network namespace".into(),
        };
        steps.push(format!("make an interface {INTERFACE} in it, which leads to {leads}"));
        if self.place.engine == Engine::Kernel {
            steps.push("have the kernel's netem and tbf queue what it sends and gets".into());
        }
        let words: Vec<_> = self.words.iter().map(Word::to_string).collect();
        if !words.is_empty() {
            steps.push(format!("give it and its link {}", words.join(" ")));
        }
        if self.place.way.up {
            steps.push("start passt, which leads it out to where the caller's network leads".into());
            steps.push(format!("if {} names a resolver on loopback, ask that by passt", etc::RESOLV));
        }
        for port in &self.place.way.publish {
            let Publish { address, port, box_port, protocol } = port;
            let kind = if *protocol == Protocol::Udp { "UDP" } else { "TCP" };
            steps.push(format!("lead {kind} port {port} of {address} to the box's port {box_port}"));
        }
        if self.tells_names() {
            steps.push("make a new mnt namespace".into());
            steps.push(format!("show {} with the names of the LAN's boxes in it", etc::HOSTS));
        }
        for step in &self.steps {
            let words: Vec<_> = step.words.iter().map(Word::to_string).collect();
            steps.push(format!("after {} change the link: {}", chain::Span(step.after), words.join(" ")));
        }
        if let Some(file) = &self.place.pcap {
            steps.push(format!("write all frames of the link to {}", file.display()));
        }
        steps
    }

    fn begin(&mut self) -> Result<()> {
        self.report =
            self.place.report.as_deref().map(|path| ReportFile::open("--report", path)).transpose()?;
        Ok(())
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        if let Some(path) = &self.place.script {
            self.steps = script::read(path)?;
        }
        if self.place.way.lan.is_none()
            && let Some(word) = self.steps.iter().flat_map(|step| &step.words).find(|word| word.is_of_lan())
        {
            return Err(Error::new(word.to_string(), "nobody else is there").hint("add --lan LAN"));
        }
        self.check_steps()?;
        launch.namespaces |= CloneFlags::CLONE_NEWNET;
        if self.tells_names() {
            launch.namespaces |= CloneFlags::CLONE_NEWNS;
            let text = etc::read(etc::HOSTS).remedy(
                Errno::ENOENT,
                "the names of boxes are told there; make an empty one, or add --no-hosts",
            )?;
            self.hosts = Some(hosts::padded(text));
        }
        if self.place.way.up {
            let way_out = WayOut::find(self.gateways().collect())?;
            if way_out.changes_resolv() {
                launch.namespaces |= CloneFlags::CLONE_NEWNS;
            }
            self.way_out = Some(way_out);
        }
        if self.place.way.lan.is_none() && self.place.engine == Engine::Kernel {
            launch.act_beside();
        }
        // Till then it is the child that speaks to the holder.
        launch.act_before_next();
        Ok(())
    }

    fn make(&mut self, _birth: &mut Birth) -> Result<()> {
        if let Some(path) = &self.place.pcap {
            // Who holds the LAN must not wait for who reads a pipe. Where a box may write, it may leave a link to a
            // file that the next caller can overwrite.
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
            let mut open = File::options();
            let file = open.write(true).create(true).truncate(true).custom_flags(flags.bits()).open(path);
            let file = file.doing(|| format!("--pcap {}", path.display()));
            self.pcap = Some(
                file.remedy(Errno::ENXIO, "nobody reads it")
                    .remedy(Errno::ELOOP, "it is a link, which is not followed; name the file itself")?,
            );
        }
        self.connection = Some(Connection::open(self.place.way.lan.as_ref().map(|lan| lan.0.as_str()))?);
        if self.place.way.lan.is_some() {
            return Ok(());
        }
        if !self.place.way.up {
            return self.make_host_side();
        }
        if Self::nets(&self.words).next().is_none() {
            // Nothing of the caller's has it, so that it may be that of another box.
            self.given.extend(pairs("0").next().map(|(_, theirs)| Word::Ip(theirs)));
        }
        Ok(())
    }

    fn beside(&mut self, child: Pid) -> Result<()> {
        self.pair.as_ref().map_or(Ok(()), |(pair, _)| pair.give(child))
    }

    fn enter(&mut self) -> Result<()> {
        chain::set_loopback_up()?;
        let words: Vec<_> = self.words.iter().chain(&self.given).cloned().collect();
        let hosts = self.hosts.as_deref().map(|text| etc::show(etc::HOSTS, text)).transpose()?;
        let nets = self.make_box_side(&words, hosts.as_ref())?;
        let route = Route::open()?;
        set_up(&route, INTERFACE, &nets, self.mtu())?;
        if let Some(way_out) = &self.way_out {
            return way_out.enter(&route, INTERFACE, &nets);
        }
        self.gateways().try_for_each(|gateway| route.add_gateway(INTERFACE, gateway))
    }

    fn before_next(&mut self, _child: Pid) -> Result<()> {
        if let (Some(way_out), Some(connection)) = (&mut self.way_out, &self.connection) {
            way_out.start(connection, &self.place.way.publish)?;
        }
        self.is_entered = true;
        Ok(())
    }

    fn advice(&self, namespaces: CloneFlags, errno: Errno) -> Option<String> {
        let leads_to_caller = self.place.way.lan.is_none() && !self.place.way.up;
        chain::mount::advice(namespaces, errno, if leads_to_caller { "user,net" } else { "user" })
    }

    /// The holder says little unless it is asked; there is something to read when it has ended, too.
    fn alarm(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().filter(|_| self.is_entered).map(|connection| connection.socket.as_fd())
    }

    fn alarmed(&mut self) -> Result<()> {
        match (self.connection()?.unasked(), &self.way_out) {
            (Some(Answer::Note(text)), _) => {
                chain::note("net-link", &text);
                return Ok(());
            }
            (Some(Answer::NoWayOut), Some(way_out)) => return Err(way_out.lost()),
            _ => {}
        }
        if let Some(connection) = self.connection.take() {
            connection.bury(lan::WHEN_ENDED);
        }
        Err(self.nobody_holds_it())
    }

    fn after(&mut self, ended: &Ended) -> Result<()> {
        let told = self.leave(ended);
        // Its namespace would take it away too, but later.
        if let Some((pair, _)) = self.pair.take() {
            pair.end();
        }
        told
    }
}

impl NetLink {
    /// Ends the link, and tells what has passed.
    fn leave(&mut self, ended: &Ended) -> Result<()> {
        let host_side = self.host_side.take();
        let has_ended = matches!(ended.ending, Ending::Exited(_));
        let patience = if has_ended { lan::AT_THE_END } else { lan::WHEN_ENDED };
        let connection = self.connection.take();
        let answered = connection
            .as_ref()
            .map(|connection| connection.members(&Ask::Leave { arrives: has_ended }, patience));
        if let Some((route, index)) = host_side {
            // It may be gone, if the process that held the other one is.
            let _ = route.remove(index);
        }
        let Some((connection, answered)) = connection.zip(answered) else { return Ok(()) };
        let members = match answered {
            // The alarm was about to say so when NEXT ended. What kept NEXT from running has been said.
            Err(error) if lan::is_gone(&error) => {
                return if ended.released { Err(self.nobody_holds_it()) } else { Ok(()) };
            }
            answered => answered?,
        };
        // It is gone before who waits for this process looks for what is left.
        self.way_out = None;
        connection.see_off(patience);
        // The host's side is told of by the other one.
        match members.last().filter(|_| ended.released) {
            Some(member) => self.tell(member),
            None => Ok(()),
        }
    }

    fn nobody_holds_it(&self) -> Error {
        let then =
            if self.pair.is_some() { "its link stays as it is" } else { "the box has no link any more" };
        Error::new("the network", format!("the process that held it has ended; {then}"))
    }
}
