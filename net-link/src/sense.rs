//! What can be typed and makes no sense: settings that would do nothing, and addresses that can never work.

use std::net::{IpAddr, Ipv4Addr};

use chain::{Error, Result, Size};

use crate::{
    NetLink,
    address::overlap,
    quality::{Chance, Quality, Trait},
    words::{Condition, Direction, Net, Word},
};

/// Of an Ethernet header, which a rate counts too.
const HEADER: u64 = 14;

impl Condition {
    /// Fails if one of the words that have just changed it does nothing. What an earlier word has set may wait for its
    /// like: a queue that has lost its rate has it again with the next one.
    pub(crate) fn check(&self, words: &[Word]) -> Result<()> {
        let largest = u64::from(self.mtu.unwrap_or(1500)) + HEADER;
        for word in words {
            let Word::Is(direction, what) = word else { continue };
            let ways = match direction {
                Direction::Both => &[self.outward, self.inward][..],
                Direction::Out => &[self.outward],
                Direction::In => &[self.inward],
            };
            // What one of both directions obeys is not said in vain.
            let idle: Option<Vec<_>> = ways.iter().map(|way| is_idle(way, *what, largest)).collect();
            if let Some((why, hint)) = idle.and_then(|mut idle| idle.pop()) {
                return Err(Error::new(word.to_string(), why).hint(hint));
            }
        }
        Ok(())
    }
}

/// Why something does nothing to a direction, and what to do about it.
fn is_idle(quality: &Quality, what: Trait, largest: u64) -> Option<(&'static str, String)> {
    match what {
        Trait::Reorder(chance) if chance != Chance::NEVER && quality.delay.is_none() => {
            Some(("nothing is late that could be overtaken", "add a delay, such as delay=50ms".into()))
        }
        Trait::Queue(_) if quality.rate.is_none() => {
            Some(("nothing waits where no rate is", "add one, such as rate=2mbit".into()))
        }
        Trait::Queue(Size(bytes)) if bytes < largest => Some((
            "a packet of the size that mtu= allows does not fit",
            format!("the least is {largest}, its Ethernet header included"),
        )),
        _ => None,
    }
}

/// Whether it is an address that one box can have.
pub(crate) fn is_of_a_box(address: IpAddr) -> bool {
    let is_one = match address {
        IpAddr::V4(address) => address.octets()[0] != 0 && address != Ipv4Addr::BROADCAST,
        IpAddr::V6(address) => address.to_ipv4_mapped().is_none(),
    };
    is_one && !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

impl Net {
    /// Why no box can have this address in its network, if so.
    pub(crate) fn is_unfit(self) -> Option<&'static str> {
        let IpAddr::V4(address) = self.address else { return None };
        let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        if u32::from(address) & !hosts == 0 {
            return Some(
                "its network begins at 0.0.0.0, where the kernel leads nothing; write a longer prefix",
            );
        }
        // Of two addresses, or one, each is a box's (RFC 3021).
        match u32::from(address) & hosts {
            _ if self.prefix >= 31 => None,
            0 => Some("the address of the network itself, which no box can have; take the next one"),
            host if host == hosts => {
                Some("the broadcast address of its network, which no box can have; take the one before")
            }
            _ => None,
        }
    }

    /// Whether nobody else is in it.
    fn is_alone(self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// Fails for addresses of a box that do not go together. With a way out the gateway need not be in a network of its.
pub(crate) fn check_addresses(words: &[Word], leads_out: bool) -> Result<()> {
    let nets: Vec<Net> = NetLink::nets(words).collect();
    for net in &nets {
        if net.is_alone() && !leads_out {
            let error = Error::new(format!("ip={net}"), "in a network of this address alone nobody else is");
            let most = net.prefix - 1;
            return Err(error.hint(format!("write the length of the network's prefix, at most /{most}")));
        }
    }
    let gateways = words.iter().filter_map(|word| match word {
        Word::Gateway(address) => Some(*address),
        _ => None,
    });
    for gateway in gateways {
        let wrong = |why: &str| Error::new(format!("gw={gateway}"), why);
        for net in &nets {
            let as_box = Net { address: gateway, ..*net };
            if !overlap(*net, as_box) {
                continue;
            }
            if net.address == gateway {
                return Err(wrong("this is the box's own address").hint("name another one of its network"));
            }
            if let Some(why) = as_box.is_unfit() {
                return Err(wrong(why));
            }
        }
        let has_family = nets.iter().any(|net| net.address.is_ipv4() == gateway.is_ipv4());
        if !has_family && !nets.is_empty() {
            let family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(wrong(&format!("the box has no address of {family}")).hint("add ip=ADDRESS/PREFIX"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        text.split_whitespace().map(|word| word.parse().expect("a word")).collect()
    }

    /// What is said of words that are said one list after the other.
    fn checked(lists: &[&str]) -> std::result::Result<(), String> {
        let mut condition = Condition::default();
        lists.iter().try_for_each(|list| {
            condition.change_all(&words(list));
            condition.check(&words(list)).map_err(|error| error.to_string())
        })
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for lists in [
            &["reorder=25%"][..],
            &["reorder=25% delay=0ms"],
            &["in.reorder=25% out.delay=5ms"],
            &["delay=5ms", "delay=0ms reorder=1%"],
            &["queue=64K"],
            &["queue=64K rate=max"],
            &["queue=1513 rate=1mbit"],
            &["mtu=9000 rate=1mbit", "queue=4K"],
        ] {
            assert!(checked(lists).is_err(), "{lists:?}");
        }
        for lists in [
            &["reorder=25% delay=5ms"][..],
            &["reorder=0%"],
            &["reorder=25% out.delay=5ms"],
            &["out.reorder=25% out.delay=5ms"],
            &["delay=5ms", "reorder=25%", "delay=0ms", "loss=1%"],
            &["queue=1514 rate=1mbit"],
            &["mtu=68 queue=82 rate=1mbit"],
            &["queue=64K rate=1mbit", "rate=max", "rate=2mbit"],
        ] {
            assert_eq!(checked(lists), Ok(()), "{lists:?}");
        }
    }

    #[test]
    fn addresses_that_can_never_work_are_refused() {
        for net in [
            "10.9.0.0/24",
            "10.9.0.255/24",
            "10.9.0.1/0",
            "10.9.0.1/4",
            "0.1.2.3/16",
            "224.0.0.1/24",
            "127.0.0.1/8",
            "255.255.255.255/24",
            "::1/64",
            "ff02::1/64",
            "::ffff:10.9.0.1/120",
            "fd00::1/0",
        ] {
            assert!(net.parse::<Net>().is_err(), "{net}");
        }
        for net in [
            "10.9.0.0/23",
            "10.9.0.1/5",
            "192.0.2.1/1",
            "10.9.1.0/31",
            "10.9.1.255/31",
            "fd00::/64",
            "10.9.0.1/32",
        ] {
            let unfit = net.parse::<Net>().map(|net| net.to_string());
            assert_eq!(unfit.is_ok(), net != "10.9.0.0/23", "{net}");
        }
    }
}
