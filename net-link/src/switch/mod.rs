//! The switch that the links of a LAN lead to, with what each link does to packets on the way. It knows the time only
//! from who calls it, and interfaces only as what frames are written to.

#[cfg(test)]
mod tests;
mod waiting;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use waiting::{Leg, Waiting, room, weight};

use crate::{
    frame::{self, Mac},
    lane::{Counts, Fate, Lane, Nanos},
    quality::Quality,
    script::Step,
    words::{Condition, Net, State, Word},
    world,
};

/// Of a link, for as long as the switch is there.
pub(crate) type Id = u32;

/// The other side of a port: the box's interface, and who looks at what passes.
pub(crate) trait Far {
    /// Gives a frame to the box; whether it took it.
    fn deliver(&mut self, frame: &[u8]) -> bool;
    /// Gives a frame to the box's way out to the world; whether that took it.
    fn lead_out(&mut self, frame: &[u8]) -> bool;
    /// A frame that the box sends or gets, as it is on the box's end.
    fn see(&mut self, frame: &[u8]);
    /// The cable is in, or out.
    fn carrier(&mut self, is_on: bool);
    /// What the link is from now on; whether all that is chance, time and number is seen to there.
    fn shape(&mut self, _condition: &Condition) -> bool {
        false
    }
    /// Adds what has become of packets there.
    fn add_to(&self, _passed: &mut Passed) {}
}

/// Who a port is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) name: Option<String>,
    pub(crate) nets: Vec<Net>,
}

impl Who {
    /// Whether the box is called so.
    pub(crate) fn is(&self, name: &str) -> bool {
        let has = |address: IpAddr| self.nets.iter().any(|net| net.address == address);
        // Names are the same in capitals, as resolvers have it.
        self.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name)) || name.parse().is_ok_and(has)
    }

    /// What it is called: its name, else its first address.
    pub(crate) fn label(&self) -> String {
        let address = || self.nets.first().map_or_else(String::new, |net| net.address.to_string());
        self.name.clone().unwrap_or_else(address)
    }
}

/// What has passed a link, of what the box sent and of what it got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) sent: Counts,
    pub(crate) received: Counts,
}

struct Port<F> {
    far: F,
    who: Who,
    condition: Condition,
    /// What the box sends.
    outward: Lane,
    /// What it gets.
    inward: Lane,
    /// What waits of both.
    outward_weight: usize,
    inward_weight: usize,
    /// Which part of the LAN it is in.
    part: usize,
    /// How many stations are known to be here.
    stations: usize,
    steps: VecDeque<(Nanos, Vec<Word>)>,
}

/// How many stations of a box are known; it can send from as many as it likes.
const MOST_STATIONS: usize = 4096;

pub(crate) struct Switch<F> {
    ports: BTreeMap<Id, Port<F>>,
    next: Id,
    stations: HashMap<Mac, Id>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Of those that wait.
    weight: usize,
    number: u64,
    parts: Vec<Vec<String>>,
    /// What is to be said of steps, and whose they are.
    notes: Vec<(Id, String)>,
}

impl<F: Far> Switch<F> {
    pub(crate) fn new() -> Self {
        Self {
            ports: BTreeMap::new(),
            next: 0,
            stations: HashMap::new(),
            waiting: BinaryHeap::new(),
            weight: 0,
            number: 0,
            parts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a link. Chance on it begins with `seed`; its steps are counted from `now`.
    pub(crate) fn add(
        &mut self,
        who: Who,
        far: F,
        condition: Condition,
        seed: u64,
        steps: Vec<Step>,
        now: Nanos,
    ) -> Id {
        let id = self.next;
        self.next += 1;
        let at = |after: Duration| now.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        let mut port = Port {
            part: part(&self.parts, &who),
            outward_weight: 0,
            inward_weight: 0,
            stations: 0,
            far,
            who,
            condition: Condition::default(),
            outward: Lane::new(Quality::default(), seed),
            // Other numbers than those of the other direction.
            inward: Lane::new(Quality::default(), seed.rotate_left(32) ^ 1),
            steps: steps.into_iter().map(|step| (at(step.after), step.words)).collect(),
        };
        set(&mut port, condition);
        self.ports.insert(id, port);
        id
    }

    /// Takes a link away, with what is on its way to the box. What the box has sent still arrives.
    pub(crate) fn remove(&mut self, id: Id) -> Option<F> {
        self.stations.retain(|_, at| *at != id);
        self.waiting
            .retain(|Reverse(waiting)| waiting.port != id || matches!(waiting.leg, Leg::Outward { .. }));
        self.weight = self.waiting.iter().map(|Reverse(waiting)| weight(waiting.frame.len())).sum();
        self.ports.remove(&id).map(|port| port.far)
    }

    /// Who is there, what each link is like, and what has passed.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Id, &Who, Condition, Passed)> {
        self.ports.iter().map(|(id, port)| {
            let mut passed = Passed { sent: port.outward.counts, received: port.inward.counts };
            port.far.add_to(&mut passed);
            (*id, &port.who, port.condition, passed)
        })
    }

    /// The part of the LAN that a box is in, if there are parts: from 1, or 0 if it is in none that is named.
    pub(crate) fn part_of(&self, id: Id) -> Option<usize> {
        self.ports.get(&id).filter(|_| !self.parts.is_empty()).map(|port| port.part)
    }

    /// The first box that a word names and that is not there.
    pub(crate) fn missing<'a>(&self, word: &'a Word) -> Option<&'a str> {
        let Word::Partition(parts) = word else { return None };
        let is_there = |name: &str| self.ports.values().any(|port| port.who.is(name));
        parts.iter().flatten().map(String::as_str).find(|name| !is_there(name))
    }

    /// What has come up since this was asked last.
    pub(crate) fn take_notes(&mut self) -> Vec<(Id, String)> {
        std::mem::take(&mut self.notes)
    }

    pub(crate) fn far_of(&self, id: Id) -> Option<&F> {
        self.ports.get(&id).map(|port| &port.far)
    }

    pub(crate) fn far(&mut self, id: Id) -> Option<&mut F> {
        self.ports.get_mut(&id).map(|port| &mut port.far)
    }

    /// Changes a link, or with no `id` only what is of the whole LAN.
    pub(crate) fn change(&mut self, id: Option<Id>, words: &[Word]) {
        for word in words {
            match word {
                Word::Partition(parts) => self.parts.clone_from(parts),
                Word::Heal => self.parts.clear(),
                _ => {}
            }
        }
        if let Some(port) = id.and_then(|id| self.ports.get_mut(&id)) {
            let mut condition = port.condition;
            condition.change_all(words);
            if condition != port.condition {
                set(port, condition);
            }
        }
        for port in self.ports.values_mut() {
            port.part = part(&self.parts, &port.who);
        }
    }

    /// Makes a link what it was, as far as it lets itself be.
    pub(crate) fn restore(&mut self, id: Id, condition: Condition) {
        if let Some(port) = self.ports.get_mut(&id) {
            set(port, condition);
        }
    }

    /// A frame that a box has sent.
    pub(crate) fn receive(&mut self, id: Id, frame: &[u8], now: Nanos) {
        let Some((_, from)) = frame::stations(frame) else { return };
        if !frame::is_for_many(from) {
            self.learn(from, id);
        }
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.far.see(frame);
        match port.condition.state {
            State::Up => {}
            State::Down => {
                port.outward.counts.cut += 1;
                return;
            }
            state if frame::kind(frame) == crate::lane::Kind::Payload => {
                port.outward.counts.refused += 1;
                return self.refuse(id, state, frame, now);
            }
            // Else no box would find the one that it is to be refused by.
            _ => {}
        }
        let leg = Leg::Outward { part: port.part };
        let room = room(frame.len(), port.outward_weight, self.weight);
        let fate = port.outward.pass(frame.len(), room, frame::kind(frame), now);
        self.send(id, leg, frame, fate, now);
    }

    /// A frame that the world has sent to a box.
    pub(crate) fn come_in(&mut self, id: Id, frame: &[u8], now: Nanos) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        if port.condition.state == State::Down {
            port.inward.counts.cut += 1;
            return;
        }
        let fate = inward(port, self.weight, frame, now);
        self.send(id, Leg::Inward, frame, fate, now);
    }

    /// Remembers where a station is. What a box sends from more of them than are remembered takes no other box's place.
    fn learn(&mut self, station: Mac, id: Id) {
        let before = self.stations.get(&station).copied();
        if before == Some(id) {
            return;
        }
        let Some(port) = self.ports.get_mut(&id).filter(|port| port.stations < MOST_STATIONS) else { return };
        port.stations += 1;
        self.stations.insert(station, id);
        if let Some(port) = before.and_then(|before| self.ports.get_mut(&before)) {
            port.stations -= 1;
        }
    }

    /// When all has left these links that boxes have sent on them.
    pub(crate) fn sent_until(&self, links: &[Id]) -> Option<Nanos> {
        let sent = self.waiting.iter().map(|Reverse(waiting)| waiting);
        let sent = sent.filter(|sent| links.contains(&sent.port) && matches!(sent.leg, Leg::Outward { .. }));
        sent.map(|sent| sent.at).max()
    }

    /// When something is to be done next.
    pub(crate) fn next_time(&self) -> Option<Nanos> {
        let steps = self.ports.values().filter_map(|port| port.steps.front().map(|(at, _)| *at));
        steps.chain(self.waiting.peek().map(|Reverse(waiting)| waiting.at)).min()
    }

    /// Does what is to be done by `now`.
    pub(crate) fn run(&mut self, now: Nanos) {
        loop {
            let due = |port: &Port<F>| port.steps.front().is_some_and(|(at, _)| *at <= now);
            let Some(id) = self.ports.iter().find(|(_, port)| due(port)).map(|(id, _)| *id) else { break };
            let step = self.ports.get_mut(&id).and_then(|port| port.steps.pop_front());
            let words = step.map(|(_, words)| words).unwrap_or_default();
            let missing = words.iter().find_map(|word| Some((word, self.missing(word)?)));
            if let Some((word, name)) = missing {
                let note = format!("--script: {word}: no box of the LAN is called {name} yet");
                self.notes.push((id, note));
            }
            self.change(Some(id), &words);
        }
        while self.waiting.peek().is_some_and(|Reverse(waiting)| waiting.at <= now) {
            let Some(Reverse(waiting)) = self.waiting.pop() else { break };
            let weight = weight(waiting.frame.len());
            self.weight -= weight;
            if let Some(waits) = self.weight_of(waiting.port, waiting.leg) {
                *waits -= weight;
            }
            self.arrive(waiting.port, waiting.leg, &waiting.frame, now);
        }
    }

    /// Sends a frame along a leg, as its fate is.
    fn send(&mut self, port: Id, leg: Leg, frame: &[u8], fate: Fate, now: Nanos) {
        let Fate::Passes { at, again, corrupted } = fate else { return };
        let mut changed;
        let mut frame = frame;
        if let Some(bit) = corrupted {
            changed = frame.to_vec();
            frame::flip(&mut changed, bit);
            frame = &changed;
        }
        for at in [Some(at), again].into_iter().flatten() {
            if at <= now {
                self.arrive(port, leg, frame, now);
            } else {
                self.wait(port, leg, frame, at);
            }
        }
    }

    /// There is room for it, as who has passed it has been told.
    fn wait(&mut self, port: Id, leg: Leg, frame: &[u8], at: Nanos) {
        let weight = weight(frame.len());
        self.weight += weight;
        if let Some(waits) = self.weight_of(port, leg) {
            *waits += weight;
        }
        self.number += 1;
        self.waiting.push(Reverse(Waiting { at, number: self.number, port, leg, frame: frame.into() }));
    }

    /// What waits of a link, if that is still there.
    fn weight_of(&mut self, port: Id, leg: Leg) -> Option<&mut usize> {
        let port = self.ports.get_mut(&port)?;
        Some(match leg {
            Leg::Outward { .. } => &mut port.outward_weight,
            Leg::Inward => &mut port.inward_weight,
        })
    }

    /// A frame is at the end of a leg.
    fn arrive(&mut self, id: Id, leg: Leg, frame: &[u8], now: Nanos) {
        match (leg, self.ports.get_mut(&id)) {
            (Leg::Outward { part }, port) => {
                if let Some(port) = port {
                    count(&mut port.outward.counts, frame);
                }
                self.forward(id, part, frame, now);
            }
            (Leg::Inward, None) => {}
            (Leg::Inward, Some(port)) => {
                if port.condition.state != State::Down && port.far.deliver(frame) {
                    port.far.see(frame);
                    count(&mut port.inward.counts, frame);
                } else {
                    port.inward.counts.cut += 1;
                }
            }
        }
    }

    /// From the switch to the links that a frame is for.
    fn forward(&mut self, from: Id, within: usize, frame: &[u8], now: Nanos) {
        let Some((to, _)) = frame::stations(frame) else { return };
        if to == world::STATION {
            // No box of the LAN is that, whatever one calls itself.
            if let Some(port) = self.ports.get_mut(&from)
                && !port.far.lead_out(frame)
            {
                port.outward.counts.cut += 1;
            }
            return;
        }
        let known = (!frame::is_for_many(to)).then(|| self.stations.get(&to)).flatten();
        let ids: Vec<Id> = match known {
            Some(id) if *id == from => return,
            Some(id) => vec![*id],
            None => self.ports.keys().copied().filter(|id| *id != from).collect(),
        };
        for id in ids {
            let Some(port) = self.ports.get_mut(&id) else { continue };
            if port.part != within || port.condition.state == State::Down {
                port.inward.counts.cut += 1;
                continue;
            }
            let fate = inward(port, self.weight, frame, now);
            self.send(id, Leg::Inward, frame, fate, now);
        }
    }

    /// Answers a frame of a link that passes nothing on.
    fn refuse(&mut self, id: Id, state: State, frame: &[u8], now: Nanos) {
        let answers = match state {
            State::Unreachable => [frame::unreachable(frame), None],
            State::Reset => frame::resets(frame).map_or([None, None], |[back, on]| [Some(back), Some(on)]),
            State::Up | State::Down => [None, None],
        };
        let [back, on] = answers;
        if let Some(back) = back {
            self.arrive(id, Leg::Inward, &back, now);
        }
        if let (Some(on), Some(port)) = (on, self.ports.get(&id)) {
            self.forward(id, port.part, &on, now);
        }
    }
}

/// What becomes of a frame that a box is to get, where so much waits in the LAN.
fn inward<F>(port: &mut Port<F>, all: usize, frame: &[u8], now: Nanos) -> Fate {
    let room = room(frame.len(), port.inward_weight, all);
    port.inward.pass(frame.len(), room, frame::kind(frame), now)
}

fn count(counts: &mut Counts, frame: &[u8]) {
    counts.packets += 1;
    counts.bytes += u64::try_from(frame.len()).unwrap_or(0);
}

/// The part of a LAN that a box is in: that where it is named, or the rest.
fn part(parts: &[Vec<String>], who: &Who) -> usize {
    parts.iter().position(|names| names.iter().any(|name| who.is(name))).map_or(0, |at| at + 1)
}

fn set<F: Far>(port: &mut Port<F>, condition: Condition) {
    if (port.condition.state == State::Down) != (condition.state == State::Down) {
        port.far.carrier(condition.state != State::Down);
    }
    port.condition = condition;
    let is_done = port.far.shape(&condition);
    // A blackhole drops what the far side lets through.
    let left = |quality: Quality| Quality { blackhole: quality.blackhole, ..Quality::default() };
    let [outward, inward] = [condition.outward, condition.inward];
    port.outward.set(if is_done { left(outward) } else { outward });
    port.inward.set(if is_done { left(inward) } else { inward });
}
