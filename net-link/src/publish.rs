//! Ports of the caller's machine that lead into the box, as they are typed: `[ADDR:]PORT[:BOXPORT][/udp]`.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    str::FromStr,
};

use chain::{Doing, Remedy, Result as Done};
use nix::errno::Errno;

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port that leads into the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// The address that it is open on, that of loopback if none is said.
    pub address: Ipv4Addr,
    /// Its number.
    pub port: u16,
    /// Where it leads to.
    pub box_port: u16,
    /// Of which kind both are.
    pub protocol: Protocol,
}

impl Publish {
    /// Fails as who opens it does.
    pub(crate) fn try_to_open(&self) -> Done<()> {
        let at = (self.address, self.port);
        let opened: io::Result<()> = match self.protocol {
            Protocol::Tcp => TcpListener::bind(at).map(drop),
            Protocol::Udp => UdpSocket::bind(at).map(drop),
        };
        opened
            .doing(|| format!("--publish {self}"))
            .remedy(
                Errno::EADDRINUSE,
                "another program has the port, which ss -tulnp shows; choose another one",
            )
            .remedy(Errno::EACCES, "a port below 1024 takes root; choose another one, such as 8080:80")
            .remedy(
                Errno::EADDRNOTAVAIL,
                "no interface of the caller has the address; 0.0.0.0 is all of them",
            )
    }
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some(_) => return Err("not a kind of port; it is /tcp or /udp".into()),
        };
        if rest.contains('[') || rest.parse::<Ipv6Addr>().is_ok() {
            return Err(
                "an address of IPv6; ports are opened on those of IPv4, such as 0.0.0.0:8080:80".into()
            );
        }
        let parts: Vec<_> = rest.split(':').collect();
        let (address, port, box_port) = match *parts.as_slice() {
            [port] => (None, port, port),
            [address, port] if address.contains('.') => (Some(address), port, port),
            [port, box_port] => (None, port, box_port),
            [address, port, box_port] => (Some(address), port, box_port),
            _ => return Err("not a port; write [ADDRESS:]PORT[:BOXPORT][/udp], such as 8080:80".into()),
        };
        let address = address.map_or(Ok(Ipv4Addr::LOCALHOST), str::parse);
        let address = address.map_err(|_| "not an IPv4 address before the port".to_owned())?;
        Ok(Self { address, port: number(port)?, box_port: number(box_port)?, protocol })
    }
}

fn number(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ if text.contains('-') => Err("not one port; say --publish for each".into()),
        _ => Err("not the number of a port; it is from 1 to 65535".into()),
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.protocol == Protocol::Udp { "/udp" } else { "" };
        write!(f, "{}:{}:{}{kind}", self.address, self.port, self.box_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_port_is_the_loopbacks_and_the_same_inside_unless_said() {
        for (text, whole) in [
            ("80", "127.0.0.1:80:80"),
            ("8080:80", "127.0.0.1:8080:80"),
            ("0.0.0.0:8080", "0.0.0.0:8080:8080"),
            ("192.0.2.1:8080:80/tcp", "192.0.2.1:8080:80"),
            ("53/udp", "127.0.0.1:53:53/udp"),
        ] {
            let port: Publish = text.parse().expect("a port");
            assert_eq!(port.to_string(), whole);
            assert_eq!(whole.parse(), Ok(port));
        }
        for text in [
            "",
            "0",
            "65536",
            "+80",
            "a:b",
            "1:2:3:4",
            "::1:80",
            "1.2.3:80",
            "80/icmp",
            "80:",
            "host.org:80:80",
        ] {
            assert!(text.parse::<Publish>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_port_panics(text in ".{0,30}") {
            let _ = text.parse::<Publish>();
        }
    }
}
