//! The box's route to a gateway that is nowhere on its network, and whose station is known (route(8), "onlink").

use std::net::IpAddr;

use chain::{Doing, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::RouteFlags,
};

use crate::{
    frame::Mac,
    interface::{Route, by_gateway, family, index},
};

/// Sends what is for other networks to this station, and asks nobody for it: where the box's network is shared, others
/// could answer.
pub(crate) fn add(route: &Route, interface: &str, gateway: IpAddr, station: Mac) -> Result<()> {
    let doing = || format!("lead what is for other networks to {gateway}");
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.family = family(gateway);
    neighbour.header.ifindex = index(interface)?;
    neighbour.header.state = NeighbourState::Permanent;
    let address = match gateway {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    neighbour.attributes = vec![
        NeighbourAttribute::Destination(address),
        NeighbourAttribute::LinkLayerAddress(station.to_vec()),
    ];
    route.ask(RouteNetlinkMessage::NewNeighbour(neighbour), NLM_F_CREATE | NLM_F_EXCL).doing(doing)?;
    let mut message = by_gateway(interface, gateway)?;
    message.header.flags = RouteFlags::Onlink;
    route.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL).doing(doing)
}
