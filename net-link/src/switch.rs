//! The switch that the links of a LAN lead to, with what each link does to packets on the way. It knows the time only
//! from who calls it, and interfaces only as what frames are written to.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

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
    /// Which part of the LAN it is in.
    part: usize,
    steps: VecDeque<(Nanos, Vec<Word>)>,
}

/// A frame on its way.
struct Waiting {
    at: Nanos,
    /// Of two at the same time the one that came first is first.
    number: u64,
    port: Id,
    leg: Leg,
    frame: Box<[u8]>,
}

#[derive(Clone, Copy)]
enum Leg {
    /// From the box, in this part of the LAN, to the switch.
    Outward { part: usize },
    /// From the switch to the box.
    Inward,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// How much may be on its way in a LAN; what is more is dropped, so that a long delay and a fast sender do not take
/// the machine's memory.
const MOST_WAITING: usize = 64 << 20;

/// What each takes besides its bytes, about: small ones are many.
const BESIDES: usize = 128;

fn weight(frame: &[u8]) -> usize {
    frame.len() + BESIDES
}

/// How many stations are known; a box can send from as many as it likes.
const MOST_STATIONS: usize = 65_536;

pub(crate) struct Switch<F> {
    ports: BTreeMap<Id, Port<F>>,
    next: Id,
    stations: HashMap<Mac, Id>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Of those that wait.
    weight: usize,
    number: u64,
    parts: Vec<Vec<String>>,
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
        self.weight = self.waiting.iter().map(|Reverse(waiting)| weight(&waiting.frame)).sum();
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
        let Some(port) = self.ports.get_mut(&id) else { return };
        let Some((_, from)) = frame::stations(frame) else { return };
        port.far.see(frame);
        if !frame::is_for_many(from)
            && (self.stations.len() < MOST_STATIONS || self.stations.contains_key(&from))
        {
            self.stations.insert(from, id);
        }
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
        let fate = port.outward.pass(frame.len(), frame::kind(frame), now);
        self.send(id, leg, frame, fate, now);
    }

    /// A frame that the world has sent to a box.
    pub(crate) fn come_in(&mut self, id: Id, frame: &[u8], now: Nanos) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        if port.condition.state == State::Down {
            port.inward.counts.cut += 1;
            return;
        }
        let fate = port.inward.pass(frame.len(), frame::kind(frame), now);
        self.send(id, Leg::Inward, frame, fate, now);
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
            self.change(Some(id), &step.map(|(_, words)| words).unwrap_or_default());
        }
        while self.waiting.peek().is_some_and(|Reverse(waiting)| waiting.at <= now) {
            let Some(Reverse(waiting)) = self.waiting.pop() else { break };
            self.weight -= weight(&waiting.frame);
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

    fn wait(&mut self, port: Id, leg: Leg, frame: &[u8], at: Nanos) {
        if self.weight + weight(frame) > MOST_WAITING {
            if let Some(lane) = self.lane(port, leg) {
                lane.counts.overflowed += 1;
            }
            return;
        }
        self.weight += weight(frame);
        self.number += 1;
        self.waiting.push(Reverse(Waiting { at, number: self.number, port, leg, frame: frame.into() }));
    }

    fn lane(&mut self, port: Id, leg: Leg) -> Option<&mut Lane> {
        let port = self.ports.get_mut(&port)?;
        Some(match leg {
            Leg::Outward { .. } => &mut port.outward,
            Leg::Inward => &mut port.inward,
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
            let fate = port.inward.pass(frame.len(), frame::kind(frame), now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use std::{cell::RefCell, rc::Rc};

    const MILLI: Nanos = 1_000_000;

    /// What a box has got, and whether its cable is in.
    #[derive(Clone, Default)]
    struct End(Rc<RefCell<(Vec<Vec<u8>>, bool)>>);

    impl End {
        fn count(&self) -> usize {
            self.0.borrow().0.len()
        }
    }

    impl Far for End {
        fn deliver(&mut self, frame: &[u8]) -> bool {
            self.0.borrow_mut().0.push(frame.to_vec());
            true
        }

        fn lead_out(&mut self, _frame: &[u8]) -> bool {
            false
        }

        fn see(&mut self, _frame: &[u8]) {}

        fn carrier(&mut self, is_on: bool) {
            self.0.borrow_mut().1 = !is_on;
        }
    }

    fn mac(host: u8) -> Mac {
        [2, 0, 0, 0, 0, host]
    }

    fn frame(from: u8, to: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let to = if to == 255 { [255; 6] } else { mac(to) };
        let builder = PacketBuilder::ethernet2(mac(from), to).ipv4([10, 0, 0, from], [10, 0, 0, to[5]], 64);
        builder.udp(1, 2).write(&mut frame, b"hello").expect("a frame");
        frame
    }

    /// A LAN of boxes 1, 2, … with these words each; all know where the others are.
    fn lan(boxes: &[&str]) -> (Switch<End>, Vec<End>) {
        let mut switch = Switch::new();
        let mut ends = Vec::new();
        for (at, words) in boxes.iter().enumerate() {
            let mut condition = Condition::default();
            for word in words.split_whitespace() {
                condition.change(&word.parse().expect("a word"));
            }
            let host = u8::try_from(at + 1).expect("few boxes");
            let net = format!("10.0.0.{host}/24").parse().expect("a net");
            let who = Who { name: Some(format!("box{host}")), nets: vec![net] };
            let end = End::default();
            let id = switch.add(who, end.clone(), condition, u64::from(host), Vec::new(), 0);
            switch.stations.insert(mac(host), id);
            ends.push(end);
        }
        (switch, ends)
    }

    fn change(switch: &mut Switch<End>, id: Option<Id>, words: &str) {
        let words: Vec<Word> = words.split_whitespace().map(|word| word.parse().expect("a word")).collect();
        switch.change(id, &words);
    }

    fn counts(ends: &[End]) -> Vec<usize> {
        ends.iter().map(End::count).collect()
    }

    #[test]
    fn a_frame_goes_to_whom_it_is_for_and_to_all_if_nobody_knows_where_that_is() {
        let (mut switch, ends) = lan(&["", "", ""]);
        switch.receive(0, &frame(1, 2), 0);
        assert_eq!(counts(&ends), [0, 1, 0]);
        switch.receive(0, &frame(1, 9), 0);
        assert_eq!(counts(&ends), [0, 2, 1]);
        switch.receive(1, &frame(2, 255), 0);
        assert_eq!(counts(&ends), [1, 2, 2]);
        // Box 9 is where its first frame came from.
        switch.receive(2, &frame(9, 1), 0);
        switch.receive(0, &frame(1, 9), 0);
        assert_eq!(counts(&ends), [2, 2, 3]);
    }

    #[test]
    fn a_delay_is_that_of_both_links_and_order_is_kept() {
        let (mut switch, ends) = lan(&[
            "out.delay=10ms in.delay=1h".replace("1h", "50ms").as_str(),
            "in.delay=5ms out.delay=50ms",
        ]);
        let sent = [frame(1, 2), frame(1, 255)];
        for frame in &sent {
            switch.receive(0, frame, 0);
        }
        assert_eq!((switch.next_time(), ends[1].count()), (Some(10 * MILLI), 0));
        switch.run(10 * MILLI);
        assert_eq!(switch.next_time(), Some(15 * MILLI));
        switch.run(15 * MILLI - 1);
        assert_eq!(ends[1].count(), 0);
        switch.run(15 * MILLI);
        assert_eq!(ends[1].0.borrow().0, sent);
        assert_eq!(switch.next_time(), None);
    }

    #[test]
    fn no_cable_no_frame() {
        let (mut switch, ends) = lan(&["", "down"]);
        assert!(ends[1].0.borrow().1);
        switch.receive(0, &frame(1, 2), 0);
        switch.receive(1, &frame(2, 1), 0);
        assert_eq!(counts(&ends), [0, 0]);
        change(&mut switch, Some(1), "up");
        assert!(!ends[1].0.borrow().1);
        switch.receive(0, &frame(1, 2), 0);
        assert_eq!(counts(&ends), [0, 1]);
        let cut: Vec<_> =
            switch.members().map(|(_, _, _, passed)| (passed.sent.cut, passed.received.cut)).collect();
        assert_eq!(cut, [(0, 0), (1, 1)]);
    }

    #[test]
    fn parts_of_a_lan_do_not_hear_each_other_until_it_is_whole_again() {
        let (mut switch, ends) = lan(&["", "", "", ""]);
        change(&mut switch, None, "partition=box1,10.0.0.2/box3");
        for from in 1..=4 {
            switch.receive(Id::from(from) - 1, &frame(from, 255), 0);
        }
        assert_eq!(counts(&ends), [1, 1, 0, 0]);
        change(&mut switch, Some(3), "heal");
        switch.receive(3, &frame(4, 255), 0);
        assert_eq!(counts(&ends), [2, 2, 1, 0]);
    }

    #[test]
    fn an_unreachable_link_answers_who_sends() {
        let (mut switch, ends) = lan(&["unreachable", ""]);
        switch.receive(0, &frame(1, 2), 0);
        assert_eq!(counts(&ends), [1, 0]);
        assert_eq!(frame::stations(&ends[0].0.borrow().0[0]), Some((mac(1), mac(2))));
        let refused = switch.members().next().map(|(_, _, _, passed)| passed.sent.refused);
        assert_eq!(refused, Some(1));
    }

    #[test]
    fn a_script_changes_the_link_at_its_times() {
        let (mut switch, ends) = lan(&[""]);
        let who = Who { name: None, nets: Vec::new() };
        let step = |seconds, word: &str| Step {
            after: Duration::from_secs(seconds),
            words: vec![word.parse().expect("a word")],
        };
        switch.add(
            who,
            ends[0].clone(),
            Condition::default(),
            1,
            vec![step(1, "blackhole"), step(2, "up")],
            500,
        );
        switch.receive(1, &frame(2, 1), 500);
        assert_eq!(switch.next_time(), Some(1_000 * MILLI + 500));
        switch.run(1_000 * MILLI + 500);
        switch.receive(1, &frame(2, 1), 0);
        switch.run(3_000 * MILLI);
        switch.receive(1, &frame(2, 1), 0);
        assert_eq!(ends[0].count(), 2);
    }

    #[test]
    fn what_a_box_has_sent_arrives_though_it_is_gone_and_what_is_for_it_goes() {
        let (mut switch, ends) = lan(&["out.delay=1ms in.delay=1ms", ""]);
        switch.receive(0, &frame(1, 2), 0);
        switch.receive(1, &frame(2, 1), 0);
        switch.remove(0);
        switch.run(MILLI);
        assert_eq!(counts(&ends), [0, 1]);
        assert_eq!((switch.next_time(), switch.weight), (None, 0));
    }

    #[test]
    fn what_waits_has_a_bound() {
        let (mut switch, _ends) = lan(&["delay=1m", ""]);
        let mut large = frame(1, 2);
        large.resize(60_000, 0);
        for _ in 0..2_000 {
            switch.receive(0, &large, 0);
        }
        assert!(switch.weight <= MOST_WAITING);
        let overflowed = switch.members().next().map(|(_, _, _, passed)| passed.sent.overflowed);
        assert_eq!(overflowed, Some(2_000 - (MOST_WAITING / (60_000 + BESIDES)) as u64));
    }

    #[test]
    fn a_crowd_of_small_frames_that_wait_has_a_bound_too() {
        let (mut switch, _ends) = lan(&["delay=1m", ""]);
        let small = &frame(1, 2)[..14];
        for _ in 0..600_000 {
            switch.receive(0, small, 0);
        }
        assert!(switch.waiting.len() * size_of::<Waiting>() <= MOST_WAITING, "{}", switch.waiting.len());
    }

    #[test]
    fn a_copy_and_a_changed_bit_arrive() {
        let (mut switch, ends) = lan(&["out.duplicate=100% out.corrupt=100%", ""]);
        // A changed station would be looked for elsewhere; with two boxes there is one other.
        switch.receive(0, &frame(1, 2), 0);
        let got = ends[1].0.borrow().0.clone();
        if got.len() == 2 {
            assert_eq!(got[0], got[1]);
            let bits: u32 =
                got[0].iter().zip(frame(1, 2)).map(|(one, other)| (one ^ other).count_ones()).sum();
            assert_eq!(bits, 1);
        }
        let sent = switch
            .members()
            .next()
            .map(|(_, _, _, passed)| (passed.sent.duplicated.0, passed.sent.corrupted.0));
        assert_eq!(sent, Some((Some(1), Some(1))));
    }
}
