//! Who does to packets what the settings say: this program, or the kernel's netem and tbf, which know less.

use std::{fmt, io, time::Duration};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use crate::{
    interface::Route,
    lane::{Counts, Tally},
    qdisc::{Done, Queue},
    quality::{Chance, Loss, Quality, Trait},
    switch::Passed,
    words::{Condition, State, Word},
};

/// Who does it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The process that holds the link's other end.
    #[default]
    User,
    /// Queueing disciplines of the interfaces at both ends.
    Kernel,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Kernel => "kernel",
        })
    }
}

/// netem's jitter is a number of nanoseconds of 31 bits.
const MOST_JITTER: Duration = Duration::from_nanos(i32::MAX.unsigned_abs() as u64);

/// tbf's limit is a number of bytes of 32 bits, to which a packet is added.
const MOST_QUEUE: u64 = 1 << 31;

/// A lane alone has half of what may wait in a LAN.
const MOST_OF_USER: u64 = 64 << 20;

const OTHERWISE: &str = "--engine user can";

/// Fails for words that mean what the kernel cannot do. A link is alone if nothing of ours is in between.
pub(crate) fn check_words(words: &[Word]) -> Result<()> {
    match words.iter().find(|word| matches!(word, Word::Seed(_))) {
        Some(word) => {
            let why = "the kernel draws for what is sent at times that nobody can foresee too";
            Err(Error::new(word.to_string(), why).hint("--engine user gives the same each time"))
        }
        None => Ok(()),
    }
}

/// The same for what a link is to be that this program is the engine of.
pub(crate) fn check_user(condition: &Condition) -> Result<()> {
    let queues = [condition.outward, condition.inward].into_iter().filter_map(|quality| quality.queue);
    match queues.into_iter().find(|queue| queue.0 > MOST_OF_USER) {
        Some(queue) => {
            let why = "not more than 64M can wait in a process of ours";
            Err(Error::new(Trait::Queue(queue).to_string(), why).hint("--engine kernel can have 2G"))
        }
        None => Ok(()),
    }
}

/// The same for one that the kernel is the engine of.
pub(crate) fn check_kernel(condition: &Condition, is_alone: bool) -> Result<()> {
    if is_alone && matches!(condition.state, State::Unreachable | State::Reset) {
        let error = Error::new(condition.state.to_string(), "the kernel does not answer for others");
        return Err(error.hint("--engine user can, and --lan"));
    }
    for quality in [condition.outward, condition.inward] {
        let Quality { delay, queue, rate, reorder, .. } = quality;
        let refused = |what: Trait, why: &str| Err(Error::new(what.to_string(), why).hint(OTHERWISE));
        if let Some(delay) = delay.filter(|delay| delay.jitter.0 > MOST_JITTER) {
            return refused(Trait::Delay(delay), "the kernel has at most 2.147483647s of jitter");
        }
        if let Some(queue) = queue.filter(|queue| queue.0 > MOST_QUEUE) {
            return refused(Trait::Queue(queue), "the kernel has at most 2G");
        }
        // netem sends it past tbf.
        if let (Some(reorder), Some(_), Some(_)) = (reorder, delay, rate) {
            let why = "what the kernel sends before others does not keep to the rate=";
            return refused(Trait::Reorder(reorder), why);
        }
    }
    Ok(())
}

/// One direction.
#[derive(Debug)]
struct Way {
    queue: Queue,
    /// What it had done when it was changed last.
    seen: Done,
    /// What had become of packets by then.
    counts: Counts,
    /// Since then all are dropped on purpose.
    is_cut: bool,
}

impl Way {
    fn new(route: &Route, name: &str, mtu: u32) -> io::Result<Self> {
        let queue = Queue::new(route, name, mtu)?;
        Ok(Self { queue, seen: Done::default(), counts: Counts::default(), is_cut: false })
    }

    fn set(&mut self, route: &Route, quality: Quality, is_cut: bool) -> io::Result<()> {
        (self.counts, self.seen) = self.counted(route)?;
        self.is_cut = is_cut;
        self.queue.set(route, quality)
    }

    fn counted(&self, route: &Route) -> io::Result<(Counts, Done)> {
        let (seen, done) = (self.seen, self.queue.done(route)?);
        let mut counts = self.counts;
        let overflowed = done.overflowed.wrapping_sub(seen.overflowed);
        let dropped = done.dropped.wrapping_sub(seen.dropped).saturating_sub(overflowed);
        counts.bytes += done.bytes.saturating_sub(seen.bytes);
        counts.packets += u64::from(done.packets.wrapping_sub(seen.packets));
        counts.overflowed += u64::from(overflowed);
        counts.reordered += u64::from(done.reordered.wrapping_sub(seen.reordered));
        *(if self.is_cut { &mut counts.cut } else { &mut counts.lost }) += u64::from(dropped);
        Ok((counts, done))
    }
}

/// A link's queues in the kernel: of what the box sends at its interface, of what it gets at the other one.
#[derive(Debug)]
pub(crate) struct Queues {
    /// The box's network namespace.
    near: Route,
    outward: Way,
    inward: Way,
    /// Nothing of ours is in between.
    is_alone: bool,
}

impl Queues {
    pub(crate) fn new(
        (near, name): (Route, &str),
        (far, other): (&Route, &str),
        mtu: u32,
        is_alone: bool,
    ) -> Result<Self> {
        let doing = |name: &str| format!("--engine kernel: find the interface {name}");
        let outward = Way::new(&near, name, mtu).doing(|| doing(name))?;
        let inward = Way::new(far, other, mtu).doing(|| doing(other))?;
        Ok(Self { near, outward, inward, is_alone })
    }

    /// Makes it so good from now on. What is dropped on purpose, or answered, is left to who is in between.
    pub(crate) fn set(&mut self, far: &Route, condition: &Condition) -> Result<()> {
        let of = |quality: Quality| match (condition.state, quality.blackhole) {
            (State::Up | State::Down, false) => (quality, false),
            (State::Up | State::Down, true) if self.is_alone => {
                (Quality { loss: Some(Loss::Random(Chance::CERTAIN)), ..quality }, true)
            }
            _ => (Quality::default(), false),
        };
        let (outward, inward) = (of(condition.outward), of(condition.inward));
        let done = self.outward.set(&self.near, outward.0, outward.1);
        done.and_then(|()| self.inward.set(far, inward.0, inward.1))
            .doing(|| "--engine kernel: queue packets with netem and tbf".into())
            .remedy(Errno::ENOENT, "the kernel has no module sch_netem, or no sch_tbf; use --engine user")
            .remedy(Errno::EPERM, "all boxes of the LAN must be in one user namespace, or use --engine user")
    }

    /// Adds what has become of packets here to what became of them in between.
    pub(crate) fn add_to(&self, far: &Route, passed: &mut Passed) -> Result<()> {
        let doing = || "--engine kernel: count packets".to_owned();
        let (sent, _) = self.outward.counted(&self.near).doing(doing)?;
        let (received, _) = self.inward.counted(far).doing(doing)?;
        if self.is_alone {
            (passed.sent.packets, passed.sent.bytes) = (sent.packets, sent.bytes);
        }
        // What is given to the interface passes the queue yet.
        (passed.received.packets, passed.received.bytes) = (received.packets, received.bytes);
        for (counts, more) in [(&mut passed.sent, sent), (&mut passed.received, received)] {
            counts.lost += more.lost;
            counts.overflowed += more.overflowed;
            counts.cut += more.cut;
            counts.reordered += more.reordered;
            for tally in [&mut counts.delayed, &mut counts.duplicated, &mut counts.corrupted] {
                *tally = Tally(None);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(words: &str, is_alone: bool) -> std::result::Result<(), String> {
        let words: Vec<Word> = words.split_whitespace().map(|word| word.parse().expect("a word")).collect();
        check_words(&words).map_err(|error| error.to_string())?;
        let mut condition = Condition::default();
        condition.change_all(&words);
        check_kernel(&condition, is_alone).map_err(|error| error.to_string())
    }

    #[test]
    fn a_queue_that_a_process_of_ours_cannot_have_is_refused() {
        let checked = |word: &str| {
            let mut condition = Condition::default();
            condition.change(&word.parse().expect("a word"));
            check_user(&condition)
        };
        assert!(
            checked("queue=64M").is_ok() && checked("in.queue=65M").is_err() && checked("queue=65M").is_err()
        );
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused() {
        for words in ["seed=7", "in.delay=5s±3s", "queue=4G rate=1mbit", "reorder=5% delay=1ms rate=1mbit"] {
            assert!(checked(words, false).is_err() && checked(words, true).is_err(), "{words}");
        }
        for words in ["unreachable", "reset"] {
            assert!(checked(words, false).is_ok() && checked(words, true).is_err(), "{words}");
        }
        for words in [
            "loss=burst:1%,20% delay=50ms±10ms:pareto rate=2mbit queue=64K duplicate=1% corrupt=1%",
            "out.reorder=5% delay=1ms in.rate=1mbit",
            "down",
            "blackhole",
        ] {
            assert_eq!(checked(words, true), Ok(()), "{words}");
        }
    }
}
