//! What a holder answers to who asks, and does for it.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    time::Duration,
};

use chain::{Doing, Error, Result};
use rustix::event::epoll::{self, EventFlags};

use super::{
    Holder, Source, now,
    wire::{Wire, wire},
};
use crate::{
    engine, hosts,
    lane::Nanos,
    message::{Answer, Ask, Member},
    script::Step,
    switch::{Id, Who},
    words::{self, Condition, Net, Word},
    world::World,
};

/// Where addresses come from that nobody has named: 10.86.0.0/16.
const SUBNET: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 86, 0, 0), 16);

/// How long it is waited for what a box has sent: a second.
const MOST_PATIENCE: Nanos = 1_000_000_000;

impl Holder {
    pub(super) fn answer(&mut self, number: u32, ask: Ask, descriptors: Vec<OwnedFd>) -> Result<Vec<Answer>> {
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
                let links = self.links(number);
                Ok(self.members(|id| links.contains(&id)))
            }
            Ask::Members => Ok(self.members(|_| true)),
            Ask::Leave { arrives } => {
                let links = self.links(number);
                self.take_all(&links);
                let until = self.switch.sent_until(&links).filter(|_| arrives && links.len() > 1);
                if let Some(until) = until {
                    // It is answered then.
                    self.leaving.push((until.min(now() + MOST_PATIENCE), number));
                    return Ok(Vec::new());
                }
                Ok(self.leave(number))
            }
        }
    }

    fn links(&self, number: u32) -> Vec<Id> {
        self.clients.get(&number).map(|client| client.links.clone()).unwrap_or_default()
    }

    /// Takes a client's links away. Each is told of while it is known whose it is.
    fn leave(&mut self, number: u32) -> Vec<Answer> {
        let links = self.links(number);
        let answers = self.members(|id| links.contains(&id));
        for id in links {
            self.remove(id);
        }
        if let Some(client) = self.clients.get_mut(&number) {
            client.links.clear();
        }
        answers
    }

    /// Lets those go of whom all has arrived.
    pub(super) fn let_go(&mut self) {
        let now = now();
        let (due, later) = std::mem::take(&mut self.leaving).into_iter().partition(|(at, _)| *at <= now);
        self.leaving = later;
        for (_, number) in due {
            let answers = self.leave(number);
            if self.say(number, &answers).is_err() {
                self.drop_client(number);
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

    pub(super) fn remove(&mut self, id: Id) {
        if let Some(wire) = self.switch.remove(id) {
            // Who has sent a descriptor may have it yet, and then closing it here does not end that it is looked at.
            let world = wire.world.as_ref().map(|world| &world.socket);
            for descriptor in wire.frames.iter().chain(world) {
                let _ = epoll::delete(&self.epoll, descriptor);
            }
        }
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
            if let Some(name) = self.switch.missing(word) {
                return Err(Error::new(word.to_string(), format!("no box of the LAN is called {name}")));
            }
        }
        let mut before = Vec::new();
        for (id, who, condition, _) in self.switch.members().filter(|(id, ..)| ids.contains(id)) {
            before.push((id, who.label(), condition));
            let mut after = condition;
            after.change_all(&words);
            after.check(&words).map_err(|error| error.within(&format!("the link of {}", who.label())))?;
            if self.switch.far_of(id).is_some_and(|wire| wire.queues.is_some()) {
                engine::check_kernel(&after, false)?;
            } else {
                engine::check_user(&after)?;
            }
        }
        // One of which the kernel does not take it, as the box has deleted its interface, keeps no other from having it.
        let mut failed = Vec::new();
        for (id, label, condition) in before {
            self.switch.change(Some(id), &words);
            if let Err(error) = self.obeyed(id) {
                self.switch.restore(id, condition);
                failed.push((label, error));
            }
        }
        let labels: Vec<_> = failed.iter().map(|(label, _)| label.as_str()).collect();
        let labels = labels.join(", ");
        match failed.into_iter().next() {
            Some((_, error)) => Err(error.within(&format!("the link of {labels}"))),
            None => Ok(()),
        }
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
                    part: self.switch.part_of(id),
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

/// A seed that nobody knows.
fn drawn() -> Result<u64> {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut bytes, flags).doing(|| "draw a seed".into())?;
    Ok(u64::from_ne_bytes(bytes))
}
