//! The networks that the caller has already, of which a link to it must have none again: both would be in one network
//! namespace, and what is for the one would leave by the other.

use std::net::IpAddr;

use chain::{Doing, Error, Result};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

use crate::{
    address::{overlap, pairs},
    interface::Route,
    words::Net,
};

/// What the caller's network namespace has.
pub(crate) struct Taken {
    /// The networks of its interfaces.
    own: Vec<Net>,
    /// Where its routes lead, but those that lead everywhere.
    routes: Vec<Net>,
}

impl Taken {
    pub(crate) fn find(route: &Route) -> Result<Self> {
        let doing = || "look at the caller's networks".to_owned();
        let addresses =
            route.list(RouteNetlinkMessage::GetAddress(AddressMessage::default())).doing(doing)?;
        let routes = route.list(RouteNetlinkMessage::GetRoute(RouteMessage::default())).doing(doing)?;
        let own = addresses.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => of_address(message),
            _ => None,
        });
        let routes = routes.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => of_route(message),
            _ => None,
        });
        // Each interface has the network of IPv6 that is its link's alone.
        let is_ones_alone =
            |net: &Net| matches!(net.address, IpAddr::V6(address) if address.is_unicast_link_local());
        Ok(Self {
            own: own.filter(|net| !is_ones_alone(net)).collect(),
            routes: routes.filter(|net| net.prefix > 0).collect(),
        })
    }

    /// Fails if one of these that the box was said to have is the caller's own, or in a network of its.
    pub(crate) fn check(&self, nets: &[Net]) -> Result<()> {
        for net in nets {
            if let Some(own) = self.own.iter().find(|own| overlap(**own, *net)) {
                let why = format!("the caller has {own}, and this link leads to the caller");
                return Err(Error::new(format!("ip={net}"), why).hint("choose another network, or add --lan"));
            }
        }
        Ok(())
    }

    /// The two addresses of a link that nobody has said, of a network that overlaps none: the caller's and the box's.
    pub(crate) fn free_pair(&self, name: &str) -> Result<(Net, Net)> {
        let is_free = |net: &Net| !self.own.iter().chain(&self.routes).any(|taken| overlap(*taken, *net));
        let found = pairs(name).find(|(ours, _)| is_free(ours));
        found.ok_or_else(|| {
            let why = "the caller's networks leave no room in 10.87.0.0/16, nor in 192.168.87.0/24";
            Error::new("ip", why).hint("name one that is free: ip=ADDRESS/PREFIX")
        })
    }
}

fn of_address(message: &AddressMessage) -> Option<Net> {
    // Of a link with two ends the one is its own address, and the other one its network.
    let of = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    let address = message.attributes.iter().find_map(of)?;
    Some(Net { address, prefix: message.header.prefix_len })
}

fn of_route(message: &RouteMessage) -> Option<Net> {
    let of = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    };
    let address = message.attributes.iter().find_map(of)?;
    Some(Net { address, prefix: message.header.destination_prefix_length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::tests::net;

    fn nets(texts: &[&str]) -> Vec<Net> {
        texts.iter().map(|text| net(text)).collect()
    }

    fn pair_of(own: &[&str], routes: &[&str], name: &str) -> Option<String> {
        let taken = Taken { own: nets(own), routes: nets(routes) };
        taken.free_pair(name).ok().map(|(ours, theirs)| format!("{ours} {theirs}"))
    }

    #[test]
    fn a_link_that_was_told_none_has_a_network_that_the_caller_has_not() {
        let of = |own: &[&str], routes: &[&str]| pair_of(own, routes, "nlink1");
        assert_eq!(of(&[], &[]).as_deref(), Some("10.87.0.5/30 10.87.0.6/30"));
        for (own, routes) in [(&["10.87.0.6/30"][..], &[][..]), (&[], &["10.87.0.4/32"])] {
            assert_eq!(of(own, routes).as_deref(), Some("10.87.16.5/30 10.87.16.6/30"));
        }
        assert_eq!(of(&["10.1.2.3/8"], &[]).as_deref(), Some("192.168.87.5/30 192.168.87.6/30"));
        assert_eq!(of(&["10.1.2.3/8"], &["192.168.0.0/16"]), None);
    }

    #[test]
    fn what_was_said_is_refused_where_the_caller_has_it() {
        let taken = Taken { own: nets(&["10.9.0.1/24", "fd00::1/64"]), routes: nets(&["10.10.0.0/24"]) };
        for net in ["10.9.0.1/24", "10.9.0.77/30", "10.8.0.1/8", "fd00::9/64"] {
            assert!(taken.check(&nets(&[net])).is_err(), "{net}");
        }
        for net in ["10.9.1.1/24", "10.10.0.1/24", "fd00:0:0:1::1/64"] {
            assert!(taken.check(&nets(&[net])).is_ok(), "{net}");
        }
    }
}
