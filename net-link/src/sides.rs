//! The two ends of a link: their interfaces, and who is told of them.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use chain::{Error, Result};

use crate::{
    Engine, INTERFACE, NetLink,
    address::{neighbour, station},
    interface::{self, End, Other, Pair, Route, without_offloads},
    message::{Answer, Ask, Kernel},
    script::Step,
    taken::Taken,
    words::{Net, Word},
};

/// The host's side of a link without a LAN, before a number.
const HOST_INTERFACE: &str = "nlink";

impl NetLink {
    /// Gives the holder an interface; the answer is the addresses that it is to have.
    fn join(
        &self,
        frames: Option<&OwnedFd>,
        other: Option<&Other>,
        kernel: Option<(&Route, Kernel)>,
        words: &[Word],
        is_host: bool,
        hosts: Option<&File>,
    ) -> Result<Vec<Net>> {
        let text = |words: &[Word]| words.iter().map(Word::to_string).collect::<Vec<_>>();
        let nanos = |step: &Step| u64::try_from(step.after.as_nanos()).unwrap_or(u64::MAX);
        let steps = if is_host { &[][..] } else { &self.steps };
        let (near, kernel) = kernel.unzip();
        let ask = Ask::Join {
            words: text(words),
            steps: steps.iter().map(|step| (nanos(step), text(&step.words))).collect(),
            is_host,
            other: other.map(|other| other.name.clone()),
            kernel,
            has_hosts: hosts.is_some(),
        };
        let pcap = self.pcap.as_ref().filter(|_| !is_host).map(AsFd::as_fd);
        let control = other.map(|other| other.route.as_fd());
        let descriptors: Vec<BorrowedFd> =
            [frames.map(AsFd::as_fd), control, near.map(AsFd::as_fd), hosts.map(AsFd::as_fd), pcap]
                .into_iter()
                .flatten()
                .collect();
        match self.connection()?.ask(&ask, &descriptors)? {
            Answer::Joined { nets } => nets
                .iter()
                .map(|net| net.parse().map_err(|why: String| Error::new(format!("ip={net}"), why)))
                .collect(),
            _ => Err(Error::new("join the LAN", "another answer than was expected")),
        }
    }

    /// The caller's end of a link that leads nowhere else.
    pub(crate) fn make_host_side(&mut self) -> Result<()> {
        let taken = Taken::find(&Route::open()?)?;
        taken.check(&Self::nets(&self.words).collect::<Vec<_>>())?;
        let hint = "without --lan a link leads to the caller's network, which must be its own; add --lan, or ns-enter user,net --";
        if self.place.engine == Engine::Kernel {
            let pair = Pair::numbered(HOST_INTERFACE, INTERFACE).map_err(|error| error.hint(hint))?;
            let host = self.host_nets(&pair.near.name, &taken)?;
            set_up(&pair.near.route, &pair.near.name, &host, self.mtu())?;
            self.pair = Some((pair, host));
            return Ok(());
        }
        let end = End::numbered(HOST_INTERFACE).map_err(|error| error.hint(hint))?;
        let host = self.host_nets(&end.name, &taken)?;
        let words: Vec<_> = host.iter().copied().map(Word::Ip).collect();
        self.join(Some(&end.frames), end.other.as_ref(), None, &words, true, None)?;
        let route = Route::open()?;
        let done = set_up(&route, &end.name, &host, self.mtu());
        if end.other.is_some() {
            self.host_side = Some((route, interface::index(&end.name)?));
        }
        done
    }

    /// The addresses of the caller's end, which has this name; the box's follow from them if nobody says them.
    fn host_nets(&mut self, name: &str, taken: &Taken) -> Result<Vec<Net>> {
        let mut host = Vec::new();
        for net in Self::nets(&self.words) {
            let gateway = self.gateways().find(|gateway| gateway.is_ipv4() == net.address.is_ipv4());
            let address = gateway.unwrap_or_else(|| neighbour(net));
            if gateway.is_none() {
                self.given.push(Word::Gateway(address));
            }
            host.push(Net { address, prefix: net.prefix });
        }
        if host.is_empty() {
            let (ours, theirs) = taken.free_pair(name)?;
            host.push(ours);
            self.given.push(Word::Ip(theirs));
            if self.gateways().next().is_none() {
                self.given.push(Word::Gateway(ours.address));
            }
        }
        Ok(host)
    }

    /// The box's end; the answer is the addresses that it is to have.
    pub(crate) fn make_box_side(&self, words: &[Word], hosts: Option<&File>) -> Result<Vec<Net>> {
        let kernel = |is_alone, nets: &[Net]| Kernel {
            name: INTERFACE.into(),
            is_alone,
            nets: nets.iter().map(Net::to_string).collect(),
        };
        match (&self.pair, self.place.engine) {
            (Some((pair, nets)), _) => {
                without_offloads(INTERFACE)?;
                let near = Route::open()?;
                self.join(None, Some(&pair.near), Some((&near, kernel(true, nets))), words, false, hosts)
            }
            (None, Engine::Kernel) => {
                let end = End::of_pair(INTERFACE)?;
                let near = Route::open()?;
                let kernel = Some((&near, kernel(false, &[])));
                self.join(Some(&end.frames), end.other.as_ref(), kernel, words, false, hosts)
            }
            (None, Engine::User) => {
                let end = End::new(INTERFACE)?;
                self.join(Some(&end.frames), end.other.as_ref(), None, words, false, hosts)
            }
        }
    }
}

/// Sets an interface up with its addresses.
pub(crate) fn set_up(route: &Route, name: &str, nets: &[Net], mtu: Option<u32>) -> Result<()> {
    route.prepare(name, station(nets), mtu)?;
    for net in nets {
        route.add_address(name, *net)?;
    }
    route.set_up(name, true)
}
