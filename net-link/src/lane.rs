//! One direction of a link: what becomes of each packet, and when. It looks at no clock and has no packets of its
//! own, so that the same seed and the same packets always end the same way.

use std::{fmt, ops::AddAssign};

use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize};

use crate::quality::{Delay, Loss, Quality, Rate, Shape};

/// Nanoseconds of the clock that does not jump (CLOCK_MONOTONIC).
pub(crate) type Nanos = u64;

/// What has become of the packets of a direction. The names are those of the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Packets that have arrived, copies too.
    pub(crate) packets: u64,
    /// Their bytes, with Ethernet headers.
    pub(crate) bytes: u64,
    /// Dropped by chance.
    pub(crate) lost: u64,
    /// Dropped because too many waited.
    pub(crate) overflowed: u64,
    /// Dropped because the link was down or the box's part of the LAN cut off, or by a blackhole.
    pub(crate) cut: u64,
    /// Answered by the link instead of who they were for: unreachable, or reset.
    pub(crate) refused: u64,
    /// Arrived later than at once.
    pub(crate) delayed: Tally,
    /// Sent twice.
    pub(crate) duplicated: Tally,
    /// Sent with a bit changed.
    pub(crate) corrupted: Tally,
    /// Sent before those that wait.
    pub(crate) reordered: u64,
}

/// A number that is not known where the kernel does the work and does not count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Tally(pub(crate) Option<u64>);

impl Default for Tally {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl AddAssign<u64> for Tally {
    fn add_assign(&mut self, more: u64) {
        self.0 = self.0.map(|number| number + more);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Dropped,
    Passes {
        at: Nanos,
        /// When it arrives a second time.
        again: Option<Nanos>,
        /// The bit that is another.
        corrupted: Option<u64>,
    },
}

/// Who draws what for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the programs send.
    Payload,
    /// What the kernels ask each other, whose number depends on the time: it must not change what becomes of
    /// the payload.
    Neighbours,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Lane {
    quality: Quality,
    payload: Dice,
    neighbours: Dice,
    /// When all that waits for the rate has left.
    free_at: Nanos,
    pub(crate) counts: Counts,
}

/// What is drawn from, and whether a link that changes between good and bad is bad.
#[derive(Debug)]
struct Dice {
    random: Xoshiro256PlusPlus,
    is_bad: bool,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), is_bad: false }
    }

    /// From 0 to 1, both without the end.
    fn unit(&mut self) -> f64 {
        (f64::from(self.random.next_u32()) + 0.5) / 4_294_967_296.0
    }
}

impl Lane {
    pub(crate) fn new(quality: Quality, seed: u64) -> Self {
        Self {
            quality,
            payload: Dice::new(seed),
            // Any other number does.
            neighbours: Dice::new(!seed),
            free_at: 0,
            counts: Counts::default(),
        }
    }

    /// Changes what becomes of those that come from now on.
    pub(crate) fn set(&mut self, quality: Quality) {
        self.quality = quality;
    }

    /// What becomes of a packet of so many bytes that comes `now`, when there is `room` for so many such ones to wait: in
    /// the order of netem, lost, doubled, changed, queued, delayed.
    pub(crate) fn pass(&mut self, bytes: usize, room: usize, kind: Kind, now: Nanos) -> Fate {
        let Quality { loss, delay, rate, queue, duplicate, reorder, corrupt, blackhole } = self.quality;
        let dice = match kind {
            Kind::Payload => &mut self.payload,
            Kind::Neighbours => &mut self.neighbours,
        };
        // All are drawn each time, so that one setting does not change what another one does.
        let drawn: [u32; 6] = std::array::from_fn(|_| dice.random.next_u32());
        let spread = dice.unit();
        let is_lost = loss.is_some_and(|loss| is_lost(loss, &mut dice.is_bad, drawn[0], drawn[1]));
        if blackhole {
            self.counts.cut += 1;
            return Fate::Dropped;
        }
        if is_lost {
            self.counts.lost += 1;
            return Fate::Dropped;
        }
        let is_twice = duplicate.is_some_and(|chance| chance.comes_about(drawn[2]));
        let is_corrupt = bytes > 0 && corrupt.is_some_and(|chance| chance.comes_about(drawn[3]));
        let overtakes = delay.is_some() && reorder.is_some_and(|chance| chance.comes_about(drawn[4]));

        let takes = match delay {
            Some(delay) if !overtakes => span(delay, spread),
            _ => 0,
        };
        // What is dropped for want of room takes no time of the wire's.
        let room = if rate.is_some() || takes > 0 { room } else { usize::MAX };
        let queue = queue.map(|size| size.0);
        let left = if room > 0 { self.leave(bytes, rate, queue, now) } else { None };
        let Some(left) = left else {
            self.counts.overflowed += 1;
            return Fate::Dropped;
        };
        let again = if is_twice && room > 1 { self.leave(bytes, rate, queue, now) } else { None };
        self.counts.duplicated += u64::from(again.is_some());
        self.counts.corrupted += u64::from(is_corrupt);
        self.counts.reordered += u64::from(overtakes);
        self.counts.delayed += u64::from(left.saturating_add(takes) > now);
        let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8);
        Fate::Passes {
            at: left.saturating_add(takes),
            again: again.map(|left| left.saturating_add(takes)),
            corrupted: is_corrupt.then(|| u64::from(drawn[5]) % bits),
        }
    }

    /// When the last bit of a packet is on the wire; `None` if the queue is full.
    fn leave(&mut self, bytes: usize, rate: Option<Rate>, queue: Option<u64>, now: Nanos) -> Option<Nanos> {
        let Some(rate) = rate else { return Some(now) };
        let takes = |bytes: u64| {
            let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.0);
            u64::try_from(nanos).unwrap_or(u64::MAX)
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let waits = self.free_at.saturating_sub(now);
        if waits > takes(queue.unwrap_or_else(|| default_queue(rate))) {
            return None;
        }
        self.free_at = self.free_at.max(now).saturating_add(takes(bytes));
        Some(self.free_at)
    }
}

/// What leaves in a tenth of a second, and not less than ten full frames.
pub(crate) fn default_queue(rate: Rate) -> u64 {
    (rate.0 / 80).max(15_140)
}

fn is_lost(loss: Loss, is_bad: &mut bool, first: u32, second: u32) -> bool {
    match loss {
        Loss::Random(chance) => chance.comes_about(first),
        Loss::Burst { worsen, recover, bad, good } => {
            let changes = if *is_bad { recover } else { worsen };
            *is_bad ^= changes.comes_about(first);
            if *is_bad { bad } else { good }.comes_about(second)
        }
    }
}

/// How long a packet takes, for a number between 0 and 1.
fn span(delay: Delay, drawn: f64) -> Nanos {
    // As many nanoseconds as a minute has are exact in an f64, whose 52 bits hold 2^52.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "exact"
    )]
    let of = |mean: u128, jitter: u128, spread: f64| (mean as f64 + jitter as f64 * spread).max(0.0) as u64;
    of(delay.mean.0.as_nanos(), delay.jitter.0.as_nanos(), quantile(delay.shape, drawn))
}

/// What so large a part of a distribution is below, in jitters from its mean.
pub(crate) fn quantile(shape: Shape, part: f64) -> f64 {
    match shape {
        Shape::Uniform => 2.0 * part - 1.0,
        Shape::Normal => normal(part),
        Shape::Pareto => {
            // Of shape 3 and scale 1: mean 3/2, variance 3/4.
            ((1.0 - part).powf(-1.0 / 3.0) - 1.5) / 0.75_f64.sqrt()
        }
    }
}

/// The number that so large a part of a standard normal distribution is below, by the approximation 26.2.23 of
/// Abramowitz and Stegun, within 4.5e-4.
fn normal(part: f64) -> f64 {
    let tail = part.min(1.0 - part);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = t
        - (2.515_517 + t * (0.802_853 + t * 0.010_328))
            / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    if part < 0.5 { -above } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::Trait;

    const MILLI: u64 = 1_000_000;

    fn quality(words: &str) -> Quality {
        let mut quality = Quality::default();
        for word in words.split_whitespace() {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            quality.set(Trait::parse(name, value).expect("a trait").expect("a value"));
        }
        quality
    }

    /// What becomes of so many packets of 1000 bytes, one every millisecond.
    fn send(words: &str, seed: u64, count: u64) -> (Vec<Fate>, Counts) {
        let mut lane = Lane::new(quality(words), seed);
        let fates =
            (0..count).map(|number| lane.pass(1000, usize::MAX, Kind::Payload, number * MILLI)).collect();
        (fates, lane.counts)
    }

    /// How long those that arrive take.
    fn takes(fates: &[Fate]) -> Vec<u64> {
        let times = fates.iter().enumerate().filter_map(|(number, fate)| match fate {
            Fate::Passes { at, .. } => Some(at - number as u64 * MILLI),
            Fate::Dropped => None,
        });
        times.collect()
    }

    #[track_caller]
    fn assert_about(value: u64, asked: u64, percent: u64) {
        let off = value.abs_diff(asked);
        assert!(off * 100 <= asked * percent, "{value} is more than {percent}% off {asked}");
    }

    #[test]
    fn a_clean_link_passes_everything_at_once() {
        let (fates, counts) = send("", 1, 100);
        assert_eq!(takes(&fates), [0; 100]);
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn as_many_are_lost_as_asked() {
        for percent in [1, 10, 50] {
            let (_, counts) = send(&format!("loss={percent}%"), 7, 100_000);
            assert_about(counts.lost, percent * 1_000, 10);
        }
        assert_eq!(send("loss=100%", 7, 100).1.lost, 100);
    }

    #[test]
    fn the_same_seed_loses_the_same_whatever_else_is_set() {
        let lost = |words: &str, seed| {
            let (fates, _) = send(words, seed, 1_000);
            fates.iter().map(|fate| *fate == Fate::Dropped).collect::<Vec<_>>()
        };
        assert_eq!(lost("loss=20%", 1), lost("loss=20% delay=5ms±2ms duplicate=10% corrupt=10%", 1));
        assert_ne!(lost("loss=20%", 1), lost("loss=20%", 2));
    }

    #[test]
    fn what_neighbours_ask_does_not_change_what_is_lost() {
        let mut with = Lane::new(quality("loss=20%"), 3);
        let mut without = Lane::new(quality("loss=20%"), 3);
        for number in 0..1_000 {
            with.pass(42, usize::MAX, Kind::Neighbours, number);
            assert_eq!(
                with.pass(1000, usize::MAX, Kind::Payload, number),
                without.pass(1000, usize::MAX, Kind::Payload, number)
            );
        }
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_the_model_says() {
        // A bad link recovers after 5 packets in the mean, and is bad for 1 of 21 packets.
        let (fates, counts) = send("loss=burst:1%,20%", 5, 200_000);
        assert_about(counts.lost, 200_000 / 21, 10);
        let starts =
            fates.windows(2).filter(|pair| pair[0] != Fate::Dropped && pair[1] == Fate::Dropped).count();
        assert_about(counts.lost / starts as u64, 5, 10);
    }

    #[test]
    fn delays_lie_about_the_mean_as_their_shape_says() {
        for (words, middle, low, high) in [
            ("delay=50ms", 50_000, 50_000, 50_000),
            ("delay=50ms±10ms", 50_000, 40_000, 60_000),
            // 2.5 standard deviations more or less are passed by 1.2 in 100.
            ("delay=50ms±10ms:normal", 50_000, 25_000, 75_000),
            // The median of the distribution is 0.277 standard deviations below its mean.
            ("delay=50ms±10ms:pareto", 47_230, 44_000, 90_000),
        ] {
            let mut times: Vec<_> =
                takes(&send(words, 9, 20_001).0).iter().map(|nanos| nanos / 1_000).collect();
            times.sort_unstable();
            assert_about(times[10_000], middle, 1);
            assert!(times[300] >= low && times[19_700] <= high, "{words}: {} {}", times[300], times[19_700]);
        }
    }

    #[test]
    fn a_rate_is_kept_and_more_than_the_queue_is_dropped() {
        // 1000 bytes a millisecond are 8 Mbit/s, of which half get through.
        let (fates, counts) = send("rate=4mbit queue=20000", 1, 10_000);
        assert_about(takes(&fates).len() as u64, 5_000, 2);
        assert_eq!(counts.overflowed, 10_000 - takes(&fates).len() as u64);
        // What waits is at most the queue and the packet itself, 2 ms each.
        assert!(takes(&fates).into_iter().all(|nanos| nanos <= 42 * MILLI));
        // Below the rate nothing waits for more than itself.
        assert_eq!(takes(&send("rate=8mbit", 1, 100).0), [MILLI; 100]);
    }

    #[test]
    fn some_come_twice_some_changed_some_early() {
        let (fates, counts) = send("duplicate=10% corrupt=5% reorder=25% delay=10ms", 4, 20_000);
        assert_about(counts.duplicated.0.unwrap_or(0), 2_000, 10);
        assert_about(counts.corrupted.0.unwrap_or(0), 1_000, 10);
        assert_about(counts.reordered, 5_000, 10);
        let early = takes(&fates).into_iter().filter(|nanos| *nanos == 0).count();
        assert_eq!(early as u64, counts.reordered);
        let bits = fates.iter().filter_map(|fate| match fate {
            Fate::Passes { corrupted, .. } => *corrupted,
            Fate::Dropped => None,
        });
        assert!(bits.clone().all(|bit| bit < 8_000) && Some(bits.count() as u64) == counts.corrupted.0);
    }

    #[test]
    fn a_blackhole_swallows_everything() {
        let (fates, counts) = send("blackhole", 1, 10);
        assert!(fates.iter().all(|fate| *fate == Fate::Dropped));
        assert_eq!((counts.cut, counts.lost), (10, 0));
    }

    #[test]
    fn a_change_is_for_what_comes_later() {
        let mut lane = Lane::new(quality("delay=10ms"), 1);
        assert_eq!(
            lane.pass(1, usize::MAX, Kind::Payload, 0),
            Fate::Passes { at: 10 * MILLI, again: None, corrupted: None }
        );
        lane.set(quality("loss=100%"));
        assert_eq!(lane.pass(1, usize::MAX, Kind::Payload, 0), Fate::Dropped);
    }
}
