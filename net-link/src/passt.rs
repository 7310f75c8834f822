//! passt(1), which takes a box's packets to the world by the caller's own sockets: nothing of the machine's network is
//! changed, and no privilege is needed. It lives as long as the stream of frames whose other end the holder has.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use chain::{Doing, Error, Result, wait_readable};
use etherparse::{Icmpv6Type, PacketBuilder};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
    unistd::{getpid, getppid, pipe2},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    frame::Mac,
    publish::{Protocol, Publish},
    words::Net,
    world::STATION,
};

const PROGRAM: &str = "passt";

/// The other end's addresses, as the box sees it, unless `gw=` says another: no LAN has them (RFC 3927, RFC 4291).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 86, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x86, 1);

/// The other end's address of the family of this one.
pub(crate) fn gateway(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY.into() } else { GATEWAY_V6.into() }
}

/// How long it may take to begin: it only opens some sockets.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it is to do.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The box's addresses, and the station that has them.
    pub(crate) nets: Vec<Net>,
    pub(crate) station: Mac,
    /// What each of them sees as the other end.
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) publish: Vec<Publish>,
    /// Where the box asks for names: the caller's resolver answers.
    pub(crate) resolver: Option<IpAddr>,
}

impl Wanted {
    fn words(&self, socket: &OwnedFd) -> Vec<OsString> {
        let station: Vec<_> = STATION.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut words: Vec<OsString> =
            ["--foreground", "--quiet", "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra"]
                .map(Into::into)
                .into();
        let mut add = |option: &str, value: String| words.extend([option.into(), value.into()]);
        add("--fd", socket.as_raw_fd().to_string());
        add("--mac-addr", station.join(":"));
        for (Net { address, prefix }, gateway) in self.nets.iter().zip(&self.gateways) {
            add("--address", address.to_string());
            add("--gateway", gateway.to_string());
            if address.is_ipv4() {
                add("--netmask", prefix.to_string());
            }
        }
        match self.resolver {
            // Not with --dns, which its version of 2023 does not ask. It asks the caller's first one of IPv4.
            Some(resolver) => add("--dns-forward", resolver.to_string()),
            None => add("--dns", "none".into()),
        }
        for (option, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
            let ports = self.publish.iter().filter(|port| port.protocol == protocol);
            let mut specs: Vec<_> =
                ports.map(|port| format!("{}/{}:{}", port.address, port.port, port.box_port)).collect();
            if specs.is_empty() {
                specs.push("none".into());
            }
            for spec in specs {
                add(option, spec);
            }
        }
        let has = |v4| self.nets.iter().any(|net| net.address.is_ipv4() == v4);
        match (has(true), has(false)) {
            (true, false) => words.push("--ipv4-only".into()),
            (false, true) => words.push("--ipv6-only".into()),
            _ => {}
        }
        words
    }

    /// Questions for the gateway's station, as the box would ask them. Who has answered one has begun, and knows the
    /// box's station and address, which it must before the box has sent anything.
    fn questions(&self) -> Vec<Vec<u8>> {
        let ends = self.nets.iter().zip(&self.gateways);
        ends.filter_map(|(net, gateway)| question(self.station, net.address, *gateway)).collect()
    }
}

/// An ARP request (RFC 826), or a neighbour solicitation (RFC 4861).
fn question(station: Mac, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    const ALL: Mac = [255; 6];
    const REQUEST: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Some([&ALL[..], &station, &REQUEST, &station, &from.octets(), &[0; 6], &to.octets()].concat())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let kind = Icmpv6Type::Unknown { type_u8: 135, code_u8: 0, bytes5to8: [0; 4] };
            let asked = [&to.octets()[..], &[1, 1], &station].concat();
            let builder = PacketBuilder::ethernet2(station, STATION).ipv6(from.octets(), to.octets(), 255);
            let mut frame = Vec::new();
            builder.icmpv6(kind).write(&mut frame, &asked).ok()?;
            Some(frame)
        }
        _ => None,
    }
}

/// Where it is.
pub(crate) fn find() -> Result<PathBuf> {
    let Some(dirs) = env::var_os("PATH") else {
        let error = Error::new("--up", "PATH is not set, by which the program passt is found");
        return Err(error.hint("set it, such as PATH=/usr/bin:/bin"));
    };
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = env::split_paths(&dirs).map(|dir| dir.join(PROGRAM)).find(is_program);
    found.ok_or_else(|| {
        Error::new("--up", "the program passt is not installed").hint("on Debian: apt install passt")
    })
}

/// The process, which is ended with this.
#[derive(Debug)]
pub(crate) struct Passt {
    process: OwnedFd,
    child: Child,
    /// What it says. Nobody reads it meanwhile, and when it is full what is more is lost.
    said: File,
}

impl Passt {
    /// Starts it where the caller's network is. Returns when it has begun, with the stream of frames.
    pub(crate) fn start(program: &PathBuf, wanted: &Wanted) -> Result<(Self, OwnedFd)> {
        let doing = || "--up: start passt".to_owned();
        let none = SockFlag::empty();
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, none).doing(doing)?;
        let (said, says) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).doing(doing)?;
        let (kept, supervisor) = (theirs.as_raw_fd(), getpid());
        let mut command = Command::new(program);
        command.args(wanted.words(&theirs)).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(says);
        // SAFETY: system calls only, and the process has one thread.
        unsafe { command.pre_exec(move || alone_with(kept, supervisor)) };
        let child = command.spawn().doing(doing)?;
        drop((command, theirs));
        let pid = Pid::from_child(&child);
        let passt =
            Self { process: pidfd_open(pid, PidfdFlags::empty()).doing(doing)?, child, said: said.into() };
        rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC).doing(doing)?;
        let mut stream = File::from(ours.try_clone().doing(doing)?);
        for question in wanted.questions() {
            let length = u32::try_from(question.len()).unwrap_or(0).to_be_bytes();
            // If it has ended, what it said is said below.
            let _ = stream.write_all(&[&length[..], &question].concat());
        }
        passt.wait_for_answer(&ours).map_err(|error| {
            // It says which port it could not open, and not why.
            wanted.publish.iter().find_map(|port| port.try_to_open().err()).unwrap_or(error)
        })?;
        Ok((passt, ours))
    }

    fn wait_for_answer(&self, stream: &OwnedFd) -> Result<()> {
        if !wait_readable(stream.as_fd(), PATIENCE).doing(|| "--up: wait for passt".into())? {
            return Err(Error::new("--up", "passt does not answer"));
        }
        let mut events = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        poll(&mut events, PollTimeout::ZERO).doing(|| "--up: wait for passt".into())?;
        if !events[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)) {
            return Ok(());
        }
        // What it says is there when it is gone.
        wait_readable(self.process.as_fd(), PATIENCE).doing(|| "--up: wait for passt".into())?;
        let said = self.said();
        let error = Error::new("--up: passt", if said.is_empty() { "it has ended at once" } else { &said });
        Err(if said.contains("routable") { error.hint("is there a default route?") } else { error })
    }

    /// Its words, in a line.
    pub(crate) fn said(&self) -> String {
        let mut bytes = Vec::new();
        match (&self.said).read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return String::new(),
            _ => {}
        }
        let text = String::from_utf8_lossy(&bytes);
        // Where there is no log, its old versions complain of that before each word; and as root it says whom it becomes.
        let is_told = |line: &&str| {
            !line.is_empty() && !line.ends_with("bytes to syslog") && !line.starts_with("Don't run as root")
        };
        text.lines().map(str::trim).filter(is_told).collect::<Vec<_>>().join(", ")
    }
}

/// What a program gets of this process: the descriptors 0, 1, 2 and this one, and no signal held back. Till it has begun
/// and sees the end of its stream, it ends with this process. As root it becomes another user, of which the kernel forgets
/// that (prctl(2)).
fn alone_with(kept: i32, supervisor: nix::unistd::Pid) -> std::io::Result<()> {
    set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if getppid() != supervisor {
        chain::exit_now(chain::FAILED);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    let kept = u32::try_from(kept).unwrap_or(3);
    for (first, last) in [(3, kept - 1), (kept + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: close_range(2) with numbers; nothing is closed before exec.
            let done =
                unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
            Errno::result(done)?;
        }
    }
    Ok(())
}

impl Drop for Passt {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        // As process 1 of a pid namespace the supervisor may have waited for it already.
        let _ = self.child.wait();
    }
}

/// The caller's /etc/resolv.conf as the box is to have it, if one that it names listens on loopback: the box asks its gateway
/// instead, and passt the caller's first one.
pub(crate) fn resolvers(text: &[u8], gateway: IpAddr) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let own = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten();
        address.filter(Ipv4Addr::is_loopback)
    };
    text.lines().find_map(own)?;
    let mut lines = Vec::new();
    let instead = format!("nameserver {gateway}");
    for line in text.lines() {
        let line = if own(line).is_some() { &instead } else { line };
        if line != instead || !lines.contains(&line) {
            lines.push(line);
        }
    }
    Some((lines.join("\n") + "\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_on_loopback_are_asked_by_way_of_the_gateway() {
        let gateway = "169.254.86.1".parse().expect("an address");
        let of = |text: &str| {
            resolvers(text.as_bytes(), gateway).map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        assert_eq!(of("nameserver 192.0.2.53\nsearch example.org\n"), None);
        assert_eq!(of("# nameserver 127.0.0.1\n"), None);
        let own =
            "# a stub\nnameserver 127.0.0.53\nnameserver 127.0.0.54\nnameserver 192.0.2.53\noptions edns0\n";
        let boxes = "# a stub\nnameserver 169.254.86.1\nnameserver 192.0.2.53\noptions edns0\n";
        assert_eq!(of(own), Some(boxes.into()));
    }
}
