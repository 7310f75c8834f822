//! The other end of a box's interface, and what else a box has given to who holds it.

use std::{
    cell::RefCell,
    fs::File,
    io::ErrorKind,
    os::fd::{AsFd, OwnedFd},
    time::SystemTime,
};

use chain::{Doing, Error, Result};
use rustix::io::write;

use crate::{
    engine::Queues,
    hosts,
    interface::{Other, Route, set_carrier},
    message::Kernel,
    pcap::Pcap,
    switch::{Far, Passed},
    words::{Condition, Net, Word},
    world::World,
};

/// A link's, if it is not said.
const USUAL_MTU: u32 = 1500;

/// The other end of a box's interface.
pub(super) struct Wire {
    /// None if they do not come here.
    pub(super) frames: Option<OwnedFd>,
    pub(super) other: Option<Other>,
    /// Addresses that the other interface loses when it is down.
    pub(super) nets: Vec<Net>,
    pub(super) world: Option<World>,
    pub(super) queues: Option<Queues>,
    pub(super) engine_error: RefCell<Option<Error>>,
    pub(super) pcap: Option<Pcap>,
    pub(super) pcap_error: Option<String>,
}

impl Wire {
    pub(super) fn record(&mut self, done: impl FnOnce(&mut Pcap) -> std::io::Result<()>) {
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

/// What the descriptors of a box are.
pub(super) fn wire(
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
    let route =
        |descriptor| Route::from_descriptor(descriptor).doing(|| "join the LAN: take rtnetlink".into());
    let of = |name| Ok::<_, Error>(Other { route: route(next()?)?, name });
    let other = other.map(of).transpose()?;
    let queues = match (kernel, &other) {
        (Some(kernel), Some(other)) => {
            let near = route(descriptors.next().ok_or_else(missing)?)?;
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
