//! The kernel's netem and tbf as queueing disciplines of an interface: tc-netem(8), tc-tbf(8), linux/pkt_sched.h. What
//! netlink-packet-route has no words for is written here as bytes.

use std::{io, time::Duration};

use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};

use crate::{
    interface::Route,
    lane::{default_queue, quantile},
    quality::{Chance, Loss, Quality, Rate, Shape},
};

/// netem at the root, and tbf as what packets wait in when netem lets them go. The other way round tbf's limit would
/// not hold, which is that of the queue that netem then replaces.
const NETEM: TcHandle = TcHandle { major: 1, minor: 0 };
const TBF: TcHandle = TcHandle { major: 2, minor: 0 };
/// netem's only class.
const INNER: TcHandle = TcHandle { major: 1, minor: 1 };

const OPTIONS: u16 = 2;

mod netem {
    pub(super) const DISTRIBUTION: u16 = 2;
    pub(super) const REORDER: u16 = 3;
    pub(super) const CORRUPT: u16 = 4;
    pub(super) const LOSS: u16 = 5;
    pub(super) const LATENCY: u16 = 10;
    pub(super) const JITTER: u16 = 11;
    /// In LOSS: the model of Gilbert and Elliott.
    pub(super) const BURST: u16 = 2;
    /// What a standard deviation is in the table of a distribution.
    pub(super) const SCALE: f64 = 8192.0;
    /// How many delays the table has, of the 16384 that it may.
    pub(super) const ENTRIES: u16 = 4096;
}

mod tbf {
    pub(super) const PARAMETERS: u16 = 1;
    pub(super) const RATE: u16 = 4;
    pub(super) const BURST: u16 = 6;
    /// Of no cells and no overhead.
    pub(super) const ETHERNET: u8 = 1;
}

/// Bytes of packets that may wait in netem, about as many as in a LAN, so that a long delay does not take the machine's
/// memory.
const MOST_WAITING: u32 = 64 << 20;

/// What each of them takes besides its bytes, about.
const BESIDES: u32 = 768;

/// What may leave at once after a pause, in time: a timer that is late by less does not make the link slower.
const BURST: Duration = Duration::from_millis(5);

/// Such a rate is none.
const UNLIMITED: Rate = Rate(1_000_000_000_000);

/// What an interface's disciplines have done. The counters are of 32 bits and begin anew after that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) packets: u32,
    /// By netem, with those that tbf dropped.
    pub(crate) dropped: u32,
    /// By tbf, whose queue was full.
    pub(crate) overflowed: u32,
    /// Sent before those that wait.
    pub(crate) reordered: u32,
}

/// What the kernel does to what leaves by an interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    index: i32,
    /// The largest packet, with its Ethernet header.
    frame: u32,
    has_rate: bool,
}

impl Queue {
    /// That of an interface which has none but the kernel's. The link's packets are at most so large, without
    /// their Ethernet header.
    pub(crate) fn new(route: &Route, name: &str, mtu: u32) -> io::Result<Self> {
        let index = i32::try_from(route.index(name)?).map_err(io::Error::other)?;
        Ok(Self { index, frame: mtu + 14, has_rate: false })
    }

    /// Makes it so good from now on.
    pub(crate) fn set(&mut self, route: &Route, quality: Quality) -> io::Result<()> {
        route.set_discipline(self.message(
            "netem",
            NETEM,
            TcHandle::ROOT,
            netem_options(quality, self.frame),
        ))?;
        // Taking tbf away again would drop what waits in it.
        if quality.rate.is_some() || self.has_rate {
            route.set_discipline(self.message("tbf", TBF, INNER, tbf_options(quality, self.frame)))?;
            self.has_rate = true;
        }
        Ok(())
    }

    /// What has been done by now.
    pub(crate) fn done(&self, route: &Route) -> io::Result<Done> {
        let mut done = Done::default();
        let ours = |message: &TcMessage| message.header.index == self.index;
        for message in route.disciplines()?.into_iter().filter(ours) {
            for attribute in &message.attributes {
                let TcAttribute::Stats2(parts) = attribute else { continue };
                for part in parts {
                    match part {
                        TcStats2::Basic(basic) if message.header.handle == NETEM => {
                            done.bytes = basic.bytes;
                            done.packets = basic.packets;
                        }
                        TcStats2::Queue(queue) if message.header.handle == NETEM => {
                            done.dropped = queue.drops;
                            done.reordered = queue.requeues;
                        }
                        TcStats2::Queue(queue) if message.header.handle == TBF => {
                            done.overflowed = queue.drops;
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(done)
    }

    fn message(&self, kind: &str, handle: TcHandle, parent: TcHandle, options: Vec<u8>) -> TcMessage {
        let mut message = TcMessage::with_index(self.index);
        message.header.handle = handle;
        message.header.parent = parent;
        message.attributes =
            vec![TcAttribute::Kind(kind.into()), TcAttribute::Other(DefaultNla::new(OPTIONS, options))];
        message
    }
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: Vec<u8>) {
    let attribute = DefaultNla::new(kind, value);
    let at = bytes.len();
    bytes.resize(at + attribute.buffer_len(), 0);
    attribute.emit(&mut bytes[at..]);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// tc_netem_qopt, and attributes. All of them each time, since what is missing stays as it was.
fn netem_options(quality: Quality, frame: u32) -> Vec<u8> {
    let loss = match quality.loss {
        Some(Loss::Random(chance)) => chance,
        _ => Chance::NEVER,
    };
    let chance = |chance: Option<Chance>| chance.unwrap_or_default().of_all();
    let delay = quality.delay;
    // With a gap of 1 each packet is drawn for.
    let gap = u32::from(quality.reorder.is_some() && delay.is_some());
    let limit = (MOST_WAITING / (frame + BESIDES)).max(1);
    // Its times are those of the attributes, which are finer.
    let mut bytes = words(&[0, limit, loss.of_all(), gap, chance(quality.duplicate), 0]);
    attribute(&mut bytes, netem::REORDER, words(&[chance(quality.reorder), 0]));
    attribute(&mut bytes, netem::CORRUPT, words(&[chance(quality.corrupt), 0]));
    if let Some(Loss::Burst { worsen, recover, bad, good }) = quality.loss {
        // Of the third it wants the contrary.
        let model = [worsen.of_all(), recover.of_all(), !bad.of_all(), good.of_all()];
        let mut models = Vec::new();
        attribute(&mut models, netem::BURST, words(&model));
        attribute(&mut bytes, netem::LOSS, models);
    }
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes().to_vec();
    let (mean, jitter) = delay.map_or_else(Default::default, |delay| (delay.mean.0, delay.jitter.0));
    attribute(&mut bytes, netem::LATENCY, nanos(mean));
    attribute(&mut bytes, netem::JITTER, nanos(jitter));
    attribute(&mut bytes, netem::DISTRIBUTION, table(delay.map_or(Shape::Uniform, |delay| delay.shape)));
    bytes
}

/// Delays of a distribution about its mean, each as likely.
fn table(shape: Shape) -> Vec<u8> {
    let entry = |at: u16| {
        let part = (f64::from(at) + 0.5) / f64::from(netem::ENTRIES);
        #[expect(clippy::cast_possible_truncation, reason = "what is beyond the type's bounds becomes those")]
        let entry = (quantile(shape, part) * netem::SCALE).round() as i16;
        entry.to_ne_bytes()
    };
    (0..netem::ENTRIES).flat_map(entry).collect()
}

/// Attributes: tc_tbf_qopt, and what it has no room for.
fn tbf_options(quality: Quality, frame: u32) -> Vec<u8> {
    let rate = quality.rate.unwrap_or(UNLIMITED);
    let bytes_a_second = rate.0 / 8;
    let burst = u128::from(bytes_a_second) * BURST.as_nanos() / Duration::from_secs(1).as_nanos();
    let burst = u32::try_from(burst).unwrap_or(u32::MAX).max(2 * frame);
    // What is being sent does not wait.
    let queue = quality.queue.map_or_else(|| default_queue(rate), |size| size.0);
    let limit = u32::try_from(queue).unwrap_or(u32::MAX).saturating_add(frame);
    // tc_ratespec: a link layer, overhead, alignment and smallest packet; then the rate, if it fits.
    let layer = u32::from_ne_bytes([0, tbf::ETHERNET, 0, 0]);
    let spec = [layer, 0, u32::try_from(bytes_a_second).unwrap_or(u32::MAX)];
    let mut parameters = words(&spec);
    parameters.extend(words(&[0; 3]));
    // The size of the burst is an attribute, and what that of a peak would be is not used.
    parameters.extend(words(&[limit, 0, 0]));
    let mut bytes = Vec::new();
    attribute(&mut bytes, tbf::PARAMETERS, parameters);
    attribute(&mut bytes, tbf::RATE, bytes_a_second.to_ne_bytes().to_vec());
    attribute(&mut bytes, tbf::BURST, words(&[burst]));
    bytes
}
