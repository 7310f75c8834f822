//! The box's way out to the world, at each place of the launch: what is looked up for it, what the box has of it, and
//! who leads.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    path::PathBuf,
};

use chain::{Error, Result};
use nix::errno::Errno;

use crate::{
    etc, gateway,
    interface::Route,
    lan::{Connection, PATIENCE},
    message::Ask,
    passt::{self, Passt, Wanted},
    publish::Publish,
    words::Net,
    world::STATION,
};

/// Ends with this.
#[derive(Debug)]
pub(crate) struct WayOut {
    program: PathBuf,
    /// What `gw=` says.
    gateways: Vec<IpAddr>,
    /// The box's /etc/resolv.conf, if the caller's names a resolver that only the caller reaches.
    resolv: Option<Vec<u8>>,
    passt: Option<Passt>,
}

impl WayOut {
    /// Looks up what there is.
    pub(crate) fn find(gateways: Vec<IpAddr>) -> Result<Self> {
        let mut way_out = Self { program: passt::find()?, gateways, resolv: None, passt: None };
        let text = match etc::read(etc::RESOLV) {
            // It means the same as an empty one (resolv.conf(5)).
            Err(error) if error.errno() == Some(Errno::ENOENT) => Vec::new(),
            read => read?,
        };
        way_out.resolv = passt::resolvers(&text, way_out.gateway(Ipv4Addr::UNSPECIFIED.into()));
        Ok(way_out)
    }

    fn gateway(&self, of: IpAddr) -> IpAddr {
        let own = self.gateways.iter().find(|gateway| gateway.is_ipv4() == of.is_ipv4());
        own.copied().unwrap_or_else(|| passt::gateway(of))
    }

    /// Whether the box sees another /etc/resolv.conf.
    pub(crate) fn changes_resolv(&self) -> bool {
        self.resolv.is_some()
    }

    /// In the box, whose interface has these addresses: the way there, and who is asked for names.
    pub(crate) fn enter(&self, route: &Route, interface: &str, nets: &[Net]) -> Result<()> {
        for net in nets {
            gateway::add(route, interface, self.gateway(net.address), STATION)?;
        }
        self.resolv.as_ref().map_or(Ok(()), |text| etc::show(etc::RESOLV, text).map(drop))
    }

    /// In the caller's network, when the box has its link.
    pub(crate) fn start(&mut self, connection: &Connection, publish: &[Publish]) -> Result<()> {
        let members = connection.members(&Ask::Own, PATIENCE)?;
        let addresses = members.iter().flat_map(|member| &member.addresses);
        let nets: Vec<Net> = addresses.filter_map(|net| net.parse().ok()).collect();
        let wanted = Wanted {
            station: crate::address::station(&nets),
            gateways: nets.iter().map(|net| self.gateway(net.address)).collect(),
            nets,
            publish: publish.to_owned(),
            resolver: self.resolv.as_ref().map(|_| self.gateway(Ipv4Addr::UNSPECIFIED.into())),
        };
        let (passt, stream) = Passt::start(&self.program, &wanted)?;
        self.passt = Some(passt);
        connection.ask(&Ask::LeadOut, &[stream.as_fd()]).map(drop)
    }

    /// What is said when it has ended before the box.
    pub(crate) fn lost(&self) -> Error {
        let said = self.passt.as_ref().map(Passt::said).unwrap_or_default();
        let why = "passt has ended; the box has no way out any more";
        Error::new("--up", if said.is_empty() { why.into() } else { format!("{why} ({said})") })
    }
}
