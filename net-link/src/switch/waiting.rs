//! Frames on their way.

use std::cmp::Ordering;

use super::Id;
use crate::lane::Nanos;

/// A frame on its way.
pub(super) struct Waiting {
    pub(super) at: Nanos,
    /// Of two at the same time the one that came first is first.
    pub(super) number: u64,
    pub(super) port: Id,
    pub(super) leg: Leg,
    pub(super) frame: Box<[u8]>,
}

#[derive(Clone, Copy)]
pub(super) enum Leg {
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
pub(super) const MOST_WAITING: usize = 128 << 20;

/// What each takes besides its bytes, about: small ones are many.
pub(super) const BESIDES: usize = 128;

/// What a frame of so many bytes takes of that.
pub(super) fn weight(bytes: usize) -> usize {
    bytes + BESIDES
}

/// How many frames of so many bytes may yet wait in a lane, of which `own` wait already of `all` in the LAN. A lane has at
/// most as much as it leaves free: one alone half of all, and of however many that are full none takes another one's
/// part.
pub(super) fn room(bytes: usize, own: usize, all: usize) -> usize {
    // Each takes of what is free what it adds to the lane's own.
    MOST_WAITING.saturating_sub(all).saturating_sub(own) / (2 * weight(bytes))
}
