use super::{
    waiting::{BESIDES, MOST_WAITING},
    *,
};
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
        switch.learn(mac(host), id);
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
    let (mut switch, ends) =
        lan(&["out.delay=10ms in.delay=1h".replace("1h", "50ms").as_str(), "in.delay=5ms out.delay=50ms"]);
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
    switch.add(who, ends[0].clone(), Condition::default(), 1, vec![step(1, "blackhole"), step(2, "up")], 500);
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
    assert_eq!(overflowed, Some(2_000 - (MOST_WAITING / 2 / (60_000 + BESIDES)) as u64));
}

#[test]
fn what_waits_of_one_box_leaves_room_for_that_of_the_others() {
    let (mut switch, ends) = lan(&["delay=1m", "delay=1m", "out.delay=10ms", ""]);
    let mut large = frame(1, 2);
    large.resize(60_000, 0);
    for _ in 0..3_000 {
        switch.receive(0, &large, 0);
        switch.receive(1, &large, 0);
    }
    for _ in 0..300 {
        switch.receive(2, &frame(3, 4), 0);
        switch.receive(2, &large.clone(), 0);
    }
    let overflowed: Vec<_> = switch.members().map(|(_, _, _, passed)| passed.sent.overflowed).collect();
    assert!(overflowed[0] > 0 && overflowed[1] > 0 && overflowed[2] == 0, "{overflowed:?}");
    switch.run(10 * MILLI);
    assert_eq!(ends[3].count(), 300);
    // It is given back, to whom it was of.
    while let Some(next) = switch.next_time() {
        switch.run(next);
    }
    assert!(switch.weight == 0 && switch.ports.values().all(|port| port.outward_weight == 0));
}

#[test]
fn what_there_is_no_room_for_takes_no_time_on_the_wire() {
    // A frame of 1000 bytes takes a millisecond. What waits for the delay fills all room; when that is over the wire is free.
    let (mut switch, ends) = lan(&["out.rate=8mbit out.delay=1m out.queue=64M", ""]);
    let mut large = frame(1, 2);
    large.resize(1000, 0);
    let fits = MOST_WAITING / 2 / (1000 + BESIDES);
    for _ in 0..2 * fits {
        switch.receive(0, &large, 0);
    }
    let overflowed = switch.members().next().map(|(_, _, _, passed)| passed.sent.overflowed);
    assert_eq!(overflowed, Some(fits as u64));
    let all_sent = fits as u64 * MILLI + 60_000 * MILLI;
    switch.run(all_sent);
    assert_eq!((ends[1].count(), switch.next_time()), (fits, None));
    switch.receive(0, &large, all_sent);
    assert_eq!(switch.next_time(), Some(all_sent + 60_001 * MILLI));
}

#[test]
fn who_sends_from_many_stations_keeps_no_other_from_being_known() {
    let (mut switch, ends) = lan(&["", "", ""]);
    let mut many = frame(1, 2);
    many[7] = 1;
    for number in 0..100_000_u32 {
        many[8..12].copy_from_slice(&number.to_be_bytes());
        switch.receive(0, &many, 0);
    }
    assert_eq!(switch.ports[&0].stations, MOST_STATIONS);
    switch.receive(2, &frame(9, 2), 0);
    let before = counts(&ends);
    switch.receive(1, &frame(2, 9), 0);
    assert_eq!(counts(&ends), [before[0], before[1], before[2] + 1]);
    // One that is elsewhere by now is there alone.
    switch.receive(1, &frame(9, 3), 0);
    switch.receive(0, &frame(1, 9), 0);
    assert_eq!((counts(&ends)[1], switch.ports[&2].stations), (before[1] + 1, 1));
    switch.remove(0);
    assert!(switch.stations.values().all(|at| *at != 0));
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
        let bits: u32 = got[0].iter().zip(frame(1, 2)).map(|(one, other)| (one ^ other).count_ones()).sum();
        assert_eq!(bits, 1);
    }
    let sent =
        switch.members().next().map(|(_, _, _, passed)| (passed.sent.duplicated.0, passed.sent.corrupted.0));
    assert_eq!(sent, Some((Some(1), Some(1))));
}
