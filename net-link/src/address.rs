//! Addresses that follow from others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{frame::Mac, words::Net};

/// The hardware address of an interface that has these.
pub(crate) fn station(nets: &[Net]) -> Mac {
    nets.first().map_or([2, 0, 0, 0, 0, 0], |net| mac(net.address))
}

/// A station's address that follows from the box's own, so that it is the same each time: locally administered.
fn mac(address: IpAddr) -> Mac {
    let (family, [a, b, c, d]) = match address {
        IpAddr::V4(address) => (0xcb, address.octets()),
        IpAddr::V6(address) => (0xcc, digest(&address.octets())),
    };
    [2, family, a, b, c, d]
}

/// FNV-1a, so that all of an address counts.
fn digest(bytes: &[u8]) -> [u8; 4] {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step).to_be_bytes()
}

/// Another address of the network: its first, or the next; of two the other one (RFC 3021, RFC 6164).
pub(crate) fn neighbour(net: Net) -> IpAddr {
    match net.address {
        IpAddr::V4(address) if net.prefix == 31 => Ipv4Addr::from(u32::from(address) ^ 1).into(),
        IpAddr::V6(address) if net.prefix == 127 => Ipv6Addr::from(u128::from(address) ^ 1).into(),
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(net.prefix)).unwrap_or(0);
            let first = (u32::from(address) & mask).wrapping_add(1);
            let other = if first == u32::from(address) { first.wrapping_add(1) } else { first };
            Ipv4Addr::from(other).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.prefix)).unwrap_or(0);
            let first = (u128::from(address) & mask).wrapping_add(1);
            let other = if first == u128::from(address) { first.wrapping_add(1) } else { first };
            Ipv6Addr::from(other).into()
        }
    }
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(one: Net, other: Net) -> bool {
    let bits = one.prefix.min(other.prefix);
    let differs =
        |width: u8, difference: u128| difference.checked_shr(u32::from(width - bits)).unwrap_or(0) != 0;
    match (one.address, other.address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => !differs(32, u128::from(u32::from(one) ^ u32::from(other))),
        (IpAddr::V6(one), IpAddr::V6(other)) => !differs(128, u128::from(one) ^ u128::from(other)),
        _ => false,
    }
}

/// The two addresses that the link can have whose host's side has a number in its name: each a network of 4. The first one
/// is the number's own in 10.87.0.0/16, and the next 15 are that of no other number below 1024, so that two links which
/// come at the same moment do not take the same; then come those of 192.168.87.0/24.
pub(crate) fn pairs(name: &str) -> impl Iterator<Item = (Net, Net)> {
    const STEP: u32 = 1024;
    let digits = name.trim_start_matches(|byte: char| !byte.is_ascii_digit());
    let number: u32 = digits.parse().unwrap_or(0);
    let of = |first: Ipv4Addr, at: u32| {
        let net = |host| Net { address: Ipv4Addr::from(u32::from(first) + at * 4 + host).into(), prefix: 30 };
        (net(1), net(2))
    };
    let near =
        (0..16).map(move |round| of(Ipv4Addr::new(10, 87, 0, 0), (number % 0x4000 + round * STEP) % 0x4000));
    near.chain((0..64).map(move |more| of(Ipv4Addr::new(192, 168, 87, 0), (number % 64 + more) % 64)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A network as the kernel may tell of it, which no box could have.
    pub(crate) fn net(text: &str) -> Net {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        Net { address: address.parse().expect("an address"), prefix: prefix.parse().expect("a number") }
    }

    #[test]
    fn a_neighbour_is_in_the_network_and_another() {
        let of = |net: &str| neighbour(net.parse().expect("a net")).to_string();
        assert_eq!(of("10.9.0.2/24"), "10.9.0.1");
        assert_eq!(of("10.9.0.1/24"), "10.9.0.2");
        assert_eq!(of("10.9.0.6/30"), "10.9.0.5");
        assert_eq!(of("fd00::1/64"), "fd00::2");
        assert_eq!(of("fd00::7/64"), "fd00::1");
        assert_eq!((of("10.9.0.3/31"), of("10.9.0.2/31")), ("10.9.0.2".into(), "10.9.0.3".into()));
        assert_eq!((of("fd00::/127"), of("fd00::1/127")), ("fd00::1".into(), "fd00::".into()));
    }

    #[test]
    fn each_link_to_the_host_has_addresses_of_its_own() {
        let text = |name| {
            let (ours, theirs) = pairs(name).next().expect("a pair");
            format!("{ours} {theirs}")
        };
        assert_eq!(text("nlink0"), "10.87.0.1/30 10.87.0.2/30");
        assert_eq!(text("nlink1"), "10.87.0.5/30 10.87.0.6/30");
        assert_eq!(text("nlink16383"), "10.87.255.253/30 10.87.255.254/30");
        let near = |name| pairs(name).take(16).map(|(ours, _)| ours.address);
        assert!(near("nlink0").all(|address| near("nlink1").all(|other| address != other)));
    }

    #[test]
    fn networks_overlap_where_the_shorter_prefix_is_the_same() {
        let of = |one: &str, other: &str| overlap(net(one), net(other));
        assert!(
            of("10.9.0.1/24", "10.9.0.9/30")
                && of("10.9.0.1/32", "10.9.0.1/32")
                && of("10.9.0.1/0", "1.1.1.1/32")
        );
        assert!(of("fd00::1/64", "fd00::2/127") && of("fd00::1/0", "fe00::1/128"));
        assert!(
            !of("10.9.0.1/24", "10.9.1.1/24")
                && !of("10.9.0.1/32", "10.9.0.2/32")
                && !of("fd00::1/128", "fd00::/128")
        );
        assert!(!of("10.9.0.1/0", "fd00::1/0"));
    }

    #[test]
    fn a_station_is_no_group_and_no_vendors() {
        let of = |address: &str| mac(address.parse().expect("an address"));
        assert_eq!(of("10.9.0.2"), [2, 0xcb, 10, 9, 0, 2]);
        let (one, other, old) = (of("fd00:0:0:1::5"), of("fd00:0:0:2::5"), of("::10.9.0.2"));
        assert_eq!((one[..2].to_vec(), one == other), (vec![2, 0xcc], false));
        assert_ne!(old, of("10.9.0.2"));
    }
}
