//! Network interfaces: a TAP device (the kernel's networking/tuntap.rst) or a pair of veth(4), and what rtnetlink(7)
//! sets.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    net::IpAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use chain::{Doing, Remedy, Result, errno};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily as Family, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage,
    },
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    tc::TcMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
    sys::socket::{
        AddressFamily, SockFlag, SockType, setsockopt, socket,
        sockopt::{RcvBufForce, ReceiveTimeout, SendTimeout, SndBufForce},
    },
    sys::time::{TimeVal, TimeValLike},
    unistd::Pid,
};
use rustix::net::sockopt::{socket_domain as get_socket_domain, socket_protocol as get_socket_protocol};

use crate::{frame::Mac, words::Net};

const DEVICE: &str = "/dev/net/tun";

/// Frames as they are, without a word in front.
#[expect(clippy::cast_possible_truncation, reason = "it is 0x1002")]
const FLAGS: libc::c_short = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;

mod request {
    use nix::libc;

    nix::ioctl_readwrite_bad!(tunsetiff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_ptr_bad!(siocethtool, libc::SIOCETHTOOL, libc::ifreq);
    nix::ioctl_write_ptr_bad!(tunsetcarrier, libc::TUNSETCARRIER, libc::c_int);
}

/// The end of a link that is not the box's. The interface is gone when this is closed.
#[derive(Debug)]
pub(crate) struct End {
    /// What the box sends is read from it, a frame each time, and what is written to it the box gets.
    pub(crate) frames: OwnedFd,
    /// The other interface of a pair.
    pub(crate) other: Option<Other>,
    /// What the interface is called.
    pub(crate) name: String,
}

/// The other interface of a pair, whose being up is the carrier of the box's.
#[derive(Debug)]
pub(crate) struct Other {
    /// Its network namespace.
    pub(crate) route: Route,
    pub(crate) name: String,
}

impl End {
    /// That of a new interface in the caller's network namespace. Needs CAP_NET_ADMIN; where /dev/net/tun cannot be
    /// opened, CAP_SYS_ADMIN and CAP_NET_RAW too.
    pub(crate) fn new(name: &str) -> Result<Self> {
        match open_tun() {
            Ok(file) => Self::of_tap(file, name),
            // It is root's alone on some machines, and many boxes do not have it.
            Err(_) => Self::of_pair(name),
        }
    }

    /// The same with a name that ends in the first number that is free.
    pub(crate) fn numbered(prefix: &str) -> Result<Self> {
        if let Ok(file) = open_tun() {
            return Self::of_tap(file, &format!("{prefix}%d"));
        }
        first_free(prefix, Self::of_pair)
    }

    /// Of a TAP device. `%d` in the name becomes the first free number.
    fn of_tap(file: File, name: &str) -> Result<Self> {
        // SAFETY: ifreq is plain numbers, for which zero is valid.
        let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
        set_name(&mut wanted, name);
        wanted.ifr_ifru.ifru_flags = FLAGS;
        // SAFETY: the request is an ifreq, as TUNSETIFF demands, and lives through the call, which writes the name.
        unsafe { request::tunsetiff(file.as_raw_fd(), &raw mut wanted) }
            .doing(|| format!("make the interface {name}"))
            .remedy(Errno::EPERM, "run as root, or behind ns-enter user --")
            .remedy(Errno::EBUSY, "this network namespace has one of that name")?;
        let name = wanted.ifr_name.iter().take_while(|byte| **byte != 0);
        let name = name.map(|byte| char::from(byte.cast_unsigned())).collect();
        Ok(Self { frames: file.into(), other: None, name })
    }

    /// Of a pair of veth(4), the other one of which is in a network namespace that nobody else is in, and which lives
    /// as long as its packet(7) socket.
    pub(crate) fn of_pair(name: &str) -> Result<Self> {
        let end = apart(|here| Self::of_pair_to(here, name))?;
        without_offloads(name)?;
        Ok(end)
    }

    fn of_pair_to(there: &File, name: &str) -> Result<Self> {
        let route = Route::open()?;
        route.add_pair(OTHER, name, there)?;
        route.prepare(OTHER, [2, 0xcb, 0, 0, 0, 0], Some(MOST_MTU))?;
        route.set_up(OTHER, true)?;
        let doing = || format!("listen to the interface {OTHER}");
        let frames =
            packet_socket(index(OTHER)?).doing(doing).remedy(Errno::EPERM, "this needs CAP_NET_RAW")?;
        // Who writes to it is not to wait, nor drop anything, for what waits in a queue of the kernel's.
        let _ = setsockopt(&frames, SndBufForce, &MOST_UNSENT);
        let other = Some(Other { route, name: OTHER.to_owned() });
        Ok(Self { frames, other, name: name.to_owned() })
    }
}

/// Makes something whose name ends in the first number that is free.
fn first_free<T>(prefix: &str, of_name: impl Fn(&str) -> Result<T>) -> Result<T> {
    let mut number = 0;
    loop {
        match of_name(&format!("{prefix}{number}")) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => number += 1,
            made => return made,
        }
    }
}

/// Does something in a network namespace that nobody else is in. It is given the one that the caller is in, and comes
/// back to.
fn apart<T>(act: impl FnOnce(&File) -> Result<T>) -> Result<T> {
    let here = File::open("/proc/thread-self/ns/net").doing(|| "open the net namespace".into())?;
    unshare(CloneFlags::CLONE_NEWNET)
        .doing(|| "make a net namespace for the other end".into())
        .remedy(Errno::EPERM, "run as root, or behind ns-enter user --")?;
    let done = act(&here);
    // Whatever became of it: nothing else is done in the wrong one.
    setns(&here, CloneFlags::CLONE_NEWNET).doing(|| "go back to the net namespace".into())?;
    done
}

/// A pair of veth(4) between this network namespace and one that is yet to be.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The one here.
    pub(crate) near: Other,
    index: u32,
    /// The one that the box is to have, where nobody is meanwhile: it is gone with this, if the box never is.
    far: Other,
}

impl Pair {
    /// Its interface here has a name that ends in the first number that is free.
    pub(crate) fn numbered(prefix: &str, far: &str) -> Result<Self> {
        let (name, far) = first_free(prefix, |name| {
            let far = apart(|here| {
                let route = Route::open()?;
                route.add_pair(far, name, here)?;
                Ok(Other { route, name: far.to_owned() })
            })?;
            Ok((name.to_owned(), far))
        })?;
        without_offloads(&name)?;
        let index = index(&name)?;
        Ok(Self { near: Other { route: Route::open()?, name }, index, far })
    }

    /// Gives a process's network namespace its end.
    pub(crate) fn give(&self, process: Pid) -> Result<()> {
        let mut link = link(&self.far.name);
        link.attributes.push(LinkAttribute::NetNsPid(process.as_raw().unsigned_abs()));
        let asked = self.far.route.ask(RouteNetlinkMessage::SetLink(link), 0);
        asked.doing(|| format!("give the box the interface {}", self.far.name))
    }

    /// Takes both away.
    pub(crate) fn end(self) {
        // By number, as its name may be another's by now if it is gone already, which is what is wanted.
        let _ = self.near.route.remove(self.index);
    }
}

/// As many bytes of frames may wait to leave by a pair's end.
const MOST_UNSENT: usize = 128 << 20;

/// What the other interface of a pair is called.
const OTHER: &str = "cable";

/// The largest MTU of a veth(4).
const MOST_MTU: u32 = 65_535;

/// TUN's and TAP's device.
fn open_tun() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)
}

fn set_name(request: &mut libc::ifreq, name: &str) {
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
}

/// All frames that come in by an interface.
fn packet_socket(index: u32) -> nix::Result<OwnedFd> {
    let protocol = libc::c_ushort::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
    // SAFETY: socket(2) has no precondition.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    let raw = Errno::result(raw)?;
    // SAFETY: the kernel has just made it for us.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let yes: libc::c_int = 1;
    // SAFETY: the value is an int, as PACKET_IGNORE_OUTGOING demands (Linux 4.20), and lives through the call.
    let done = unsafe {
        libc::setsockopt(
            raw,
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const yes).cast(),
            libc::socklen_t::try_from(size_of_val(&yes)).unwrap_or(0),
        )
    };
    Errno::result(done)?;
    // More than fits is dropped before anybody has seen it. What is refused here is the system's usual size.
    let _ = setsockopt(&socket, RcvBufForce, &MOST_UNREAD);
    // SAFETY: sockaddr_ll is plain numbers, for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::c_ushort::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_protocol = protocol;
    address.sll_ifindex = libc::c_int::try_from(index).unwrap_or(0);
    // SAFETY: the address is a sockaddr_ll of this size and lives through the call.
    let done = unsafe {
        let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        libc::bind(raw, (&raw const address).cast(), size)
    };
    Errno::result(done)?;
    Ok(socket)
}

/// include/uapi/linux/if_packet.h; the libc crate has none.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// As many bytes of frames may wait to be read from a pair's end.
const MOST_UNREAD: usize = 4 << 20;

/// Has the kernel send whole packets with their sums, as a wire would have them: else they are left to be cut and
/// summed by hardware (the kernel's networking/checksum-offloads.rst).
pub(crate) fn without_offloads(name: &str) -> Result<()> {
    /// ethtool_value of include/uapi/linux/ethtool.h, and its commands.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const SET_SUMS: u32 = 0x17;
    const SET_TCP_SEGMENTATION: u32 = 0x1f;
    const SET_SEGMENTATION: u32 = 0x24;
    let doing = || format!("set the interface {name}");
    let flags = SockFlag::SOCK_CLOEXEC;
    let asker = socket(AddressFamily::Unix, SockType::Datagram, flags, None).doing(doing)?;
    for command in [SET_SUMS, SET_TCP_SEGMENTATION, SET_SEGMENTATION] {
        let mut value = Value { command, data: 0 };
        // SAFETY: ifreq is plain numbers, for which zero is valid.
        let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
        set_name(&mut wanted, name);
        wanted.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the request is an ifreq with an ethtool_value, as SIOCETHTOOL demands, and both live through the call.
        unsafe { request::siocethtool(asker.as_raw_fd(), &raw const wanted) }.doing(doing)?;
    }
    Ok(())
}

/// Whether the box's interface has a carrier, as with a cable plugged in: by the TAP device (TUNSETCARRIER, Linux 5.0),
/// or by whether the other interface of a pair is up.
pub(crate) fn set_carrier(frames: Option<BorrowedFd>, other: Option<&Other>, is_on: bool) {
    let value = libc::c_int::from(is_on);
    // What fails is seen by those who look at the interface; frames do not pass anyway.
    let _ = match (frames, other) {
        (_, Some(other)) => other.route.set_up(&other.name, is_on).is_ok(),
        (Some(frames), None) => {
            // SAFETY: the request is an int, as TUNSETCARRIER demands, and lives through the call.
            unsafe { request::tunsetcarrier(frames.as_raw_fd(), &raw const value) }.is_ok()
        }
        (None, None) => false,
    };
}

/// Milliseconds.
const MOMENT: i64 = 500;

/// The network namespace that the caller is in, as rtnetlink sees it.
pub(crate) struct Route(Socket);

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Route({})", self.0.as_raw_fd())
    }
}

impl AsFd for Route {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as the socket is there.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl Route {
    pub(crate) fn open() -> Result<Self> {
        let doing = || "open rtnetlink".to_owned();
        let mut socket = Socket::new(NETLINK_ROUTE).doing(doing)?;
        socket.bind_auto().doing(doing)?;
        socket.connect(&SocketAddr::new(0, 0)).doing(doing)?;
        Ok(Self(socket))
    }

    /// As it was in another process, whose network namespace it stays in. The kernel answers while it is asked, so who
    /// does not is no kernel, or is listened to by another: that is waited for no longer than a moment.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> nix::Result<Self> {
        // The number of NETLINK_ROUTE is 0.
        let is_kernels =
            get_socket_domain(&descriptor).map_err(errno)? == rustix::net::AddressFamily::NETLINK;
        if !is_kernels || get_socket_protocol(&descriptor).map_err(errno)?.is_some() {
            return Err(Errno::EPROTOTYPE);
        }
        setsockopt(&descriptor, ReceiveTimeout, &TimeVal::milliseconds(MOMENT))?;
        setsockopt(&descriptor, SendTimeout, &TimeVal::milliseconds(MOMENT))?;
        // SAFETY: it is open, and nobody else has it from here on.
        Ok(Self(unsafe { Socket::from_raw_fd(descriptor.into_raw_fd()) }))
    }

    /// Makes two interfaces that are connected, the second one in another network namespace.
    fn add_pair(&self, name: &str, other: &str, there: &File) -> Result<()> {
        let mut far = link(other);
        far.attributes.push(LinkAttribute::NetNsFd(there.as_raw_fd()));
        let mut near = link(name);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.ask(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)
            .doing(|| format!("make the interface {other}"))
            .remedy(Errno::EEXIST, "this network namespace has one of that name")
            .remedy(Errno::EOPNOTSUPP, "the kernel's module veth makes it")
    }

    /// Gives an interface a station's address and an MTU, and takes away IPv6 addresses that it would make itself:
    /// it would tell of them at times that nobody can foresee.
    pub(crate) fn prepare(&self, name: &str, mac: Mac, mtu: Option<u32>) -> Result<()> {
        let doing = || format!("set the interface {name}");
        let no_addresses = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let mut first = link(name);
        first.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![no_addresses])]));
        match self.ask(RouteNetlinkMessage::SetLink(first), 0) {
            // A kernel that has no IPv6 makes no such addresses.
            Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {}
            done => done.doing(doing)?,
        }
        // With an MTU below 1280 an interface is none of IPv6's any more (RFC 8200, 5).
        let mut then = link(name);
        then.attributes.push(LinkAttribute::Address(mac.to_vec()));
        then.attributes.extend(mtu.map(LinkAttribute::Mtu));
        self.ask(RouteNetlinkMessage::SetLink(then), 0).doing(doing)
    }

    /// Sets an interface up, or down.
    pub(crate) fn set_up(&self, name: &str, is_up: bool) -> Result<()> {
        let mut link = link(name);
        link.header.flags = if is_up { LinkFlags::Up } else { LinkFlags::empty() };
        link.header.change_mask = LinkFlags::Up;
        let way = if is_up { "up" } else { "down" };
        self.ask(RouteNetlinkMessage::SetLink(link), 0).doing(|| format!("set the interface {name} {way}"))
    }

    /// Takes an interface away, with the other one of its pair.
    pub(crate) fn remove(&self, index: u32) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.ask(RouteNetlinkMessage::DelLink(link), 0).doing(|| format!("take the interface {index} away"))
    }

    /// Gives an interface an address.
    pub(crate) fn add_address(&self, name: &str, net: Net) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(net.address);
        message.header.prefix_len = net.prefix;
        // Nobody else has it, and nobody needs to be asked (IPv6's duplicate address detection takes a second).
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.index = index(name)?;
        message.attributes =
            vec![AddressAttribute::Local(net.address), AddressAttribute::Address(net.address)];
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            .doing(|| format!("give {name} the address {net}"))
    }

    /// Sends what is for other networks by way of a gateway.
    pub(crate) fn add_gateway(&self, name: &str, gateway: IpAddr) -> Result<()> {
        let message = by_gateway(name, gateway)?;
        self.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
            .doing(|| format!("gw={gateway}"))
            .remedy(Errno::ENETUNREACH, "no address of the box is in its network")
            .remedy(Errno::EHOSTUNREACH, "no address of the box is in its network")
    }

    /// Makes a queueing discipline, or changes it.
    pub(crate) fn set_discipline(&self, message: TcMessage) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// The queueing disciplines of all interfaces.
    pub(crate) fn disciplines(&self) -> io::Result<Vec<TcMessage>> {
        let all = self.list(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()))?;
        let of = |message| match message {
            RouteNetlinkMessage::NewQueueDiscipline(message) => Some(message),
            _ => None,
        };
        Ok(all.into_iter().filter_map(of).collect())
    }

    /// All that there is of what is asked for, but for what is of kinds that are not ours.
    pub(crate) fn list(&self, what: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(what, NLM_F_DUMP)?;
        let mut all = Vec::new();
        loop {
            let (answer, _) = self.0.recv_from_full()?;
            let mut rest = answer.as_slice();
            while let Some((length, _)) = rest.split_first_chunk() {
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map(|message| message.payload)
                {
                    Ok(NetlinkPayload::Done(_)) => return Ok(all),
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(NetlinkPayload::InnerMessage(message)) => all.push(message),
                    _ => {}
                }
                let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(0).next_multiple_of(4);
                rest = rest.get(length.max(4)..).unwrap_or_default();
            }
        }
    }

    /// The number of an interface.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        self.send(RouteNetlinkMessage::GetLink(link(name)), 0)?;
        match self.answer()? {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send(&self, what: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(what);
        message.header.flags = NLM_F_REQUEST | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }

    fn answer(&self) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        Ok(answer.payload)
    }

    /// Asks for one change, and waits for the kernel's answer.
    pub(crate) fn ask(&self, what: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(what, NLM_F_ACK | flags)?;
        match self.answer()? {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

/// What is for other networks, by way of a gateway.
pub(crate) fn by_gateway(name: &str, gateway: IpAddr) -> Result<RouteMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::from(gateway)), RouteAttribute::Oif(index(name)?)];
    Ok(message)
}

pub(crate) fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
}

pub(crate) fn index(name: &str) -> Result<u32> {
    if_nametoindex(name).doing(|| format!("find the interface {name}"))
}

/// A message about the interface of this name.
fn link(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::socketpair;

    #[test]
    fn what_is_no_rtnetlink_is_refused_and_who_does_not_answer_is_not_waited_for() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("sockets");
        assert_eq!(Route::from_descriptor(pair.0).expect_err("no rtnetlink"), Errno::EPROTOTYPE);
        let route = Route::from_descriptor(
            Route::open().expect("rtnetlink").as_fd().try_clone_to_owned().expect("a copy"),
        );
        // It is asked nothing.
        let error = route.expect("rtnetlink").answer().expect_err("no answer");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
