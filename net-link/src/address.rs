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

/// The two addresses of the link whose host's side has a number in its name: each a network of 4 in 10.87.0.0/16.
pub(crate) fn pair(name: &str) -> (Ipv4Addr, Ipv4Addr) {
    let digits = name.trim_start_matches(|byte: char| !byte.is_ascii_digit());
    let number: u32 = digits.parse().unwrap_or(0);
    let first = u32::from(Ipv4Addr::new(10, 87, 0, 0)) + (number % 0x4000) * 4;
    (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (ours, theirs) = pair(name);
            format!("{ours} {theirs}")
        };
        assert_eq!(text("nlink0"), "10.87.0.1 10.87.0.2");
        assert_eq!(text("nlink1"), "10.87.0.5 10.87.0.6");
        assert_eq!(text("nlink16383"), "10.87.255.253 10.87.255.254");
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
