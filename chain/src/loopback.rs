//! The loopback interface, which is down in a new network namespace.

use std::os::fd::AsRawFd;

use nix::{
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::error::{Doing, Result};

/// IFF_UP and IFF_RUNNING of include/uapi/linux/if.h, in the short that ifreq has for them.
const UP: libc::c_short = 0x1 | 0x40;

nix::ioctl_write_ptr_bad!(set_interface_flags, libc::SIOCSIFFLAGS, libc::ifreq);

/// Sets `lo` up (netdevice(7), SIOCSIFFLAGS); the kernel gives it 127.0.0.1 and ::1 by itself.
pub fn set_loopback_up() -> Result<()> {
    let doing = || "set the loopback interface up".to_owned();
    let socket =
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).doing(doing)?;
    // SAFETY: ifreq is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = UP;
    // SAFETY: the request is an ifreq, as SIOCSIFFLAGS demands, and lives through the call.
    unsafe { set_interface_flags(socket.as_raw_fd(), &raw const request) }.map(drop).doing(doing)
}
