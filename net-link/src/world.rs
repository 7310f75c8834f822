//! The way out to the world, as the process sees it that holds the box's link: a stream that passt(1) is at the other
//! end of, with frames that have their length in front.

use std::{
    io::IoSlice,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, sendmsg, setsockopt, sockopt::SndBuf},
};

use crate::frame::{self, Mac};

/// Who is at the other end, as a box sees it.
pub(crate) const STATION: Mac = [2, 0xcc, 0, 0, 0, 1];

/// How many bytes may wait to be sent.
const MOST_UNSENT: usize = 4 << 20;

/// How many bytes are read at once.
const AT_ONCE: usize = 128 << 10;

pub(crate) struct World {
    pub(crate) socket: OwnedFd,
    /// What has come, of which the last frame may not be whole.
    got: Vec<u8>,
    /// What is still to be sent of the last frame.
    rest: Vec<u8>,
}

impl World {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        // Small frames take much of a buffer, and acknowledgements are small. What is refused here is the system's most.
        let _ = setsockopt(&socket, SndBuf, &MOST_UNSENT);
        Self { socket, got: Vec::new(), rest: Vec::new() }
    }

    /// Sends a frame; whether it was taken.
    pub(crate) fn send(&mut self, frame: &[u8]) -> bool {
        if !may_leave(frame) {
            return false;
        }
        if !self.rest.is_empty() {
            // It is rare that the kernel takes a part of a frame: then the next one takes the other part along.
            let sent = self.write(&[IoSlice::new(&self.rest)]).unwrap_or(0);
            self.rest.drain(..sent);
            if !self.rest.is_empty() {
                return false;
            }
        }
        let length = u32::try_from(frame.len()).unwrap_or(0).to_be_bytes();
        let Ok(sent) = self.write(&[IoSlice::new(&length), IoSlice::new(frame)]) else { return false };
        self.rest.extend(length.iter().chain(frame).skip(sent));
        true
    }

    fn write(&self, parts: &[IoSlice]) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.socket.as_raw_fd(), parts, &[], flags, None)
    }

    /// Takes what has come. An error says that nothing more will.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&[u8])) -> nix::Result<()> {
        let had = self.got.len();
        self.got.resize(had + AT_ONCE, 0);
        let came = recv(self.socket.as_raw_fd(), &mut self.got[had..], MsgFlags::MSG_DONTWAIT);
        self.got.truncate(had + came.unwrap_or(0));
        match came {
            Ok(0) => return Err(Errno::ECONNRESET),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut left = self.got.as_slice();
        while let Some((length, rest)) = left.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > frame::MOST {
                return Err(Errno::EBADMSG);
            }
            let Some((frame, rest)) = rest.split_at_checked(length) else { break };
            take(frame);
            left = rest;
        }
        self.got.drain(..self.got.len() - left.len());
        Ok(())
    }
}

/// Whether a frame is a packet for elsewhere. One that is addressed to loopback, or to no address, which means the same to
/// connect(2), would reach what listens on the caller's machine for itself alone: passt sends it on until its versions of
/// 2024.
fn may_leave(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => {
            frame.get(30..34).is_some_and(|to| is_elsewhere_v4(Ipv4Addr::new(to[0], to[1], to[2], to[3])))
        }
        Some([0x86, 0xdd]) => {
            let to = frame.get(38..54).and_then(|to| <[u8; 16]>::try_from(to).ok()).map(Ipv6Addr::from);
            to.is_some_and(|to| {
                let is_elsewhere = !to.is_loopback() && !to.is_unspecified();
                is_elsewhere && to.to_ipv4_mapped().is_none_or(is_elsewhere_v4)
            })
        }
        _ => false,
    }
}

fn is_elsewhere_v4(to: Ipv4Addr) -> bool {
    !to.is_loopback() && to.octets()[0] != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    fn v4(to: [u8; 4]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], STATION).ipv4([10, 0, 0, 1], to, 64);
        builder.udp(1, 2).write(&mut frame, b"hello").expect("a frame");
        frame
    }

    fn v6(to: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        let to: Ipv6Addr = to.parse().expect("an address");
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], STATION).ipv6([1; 16], to.octets(), 64);
        builder.udp(1, 2).write(&mut frame, b"hello").expect("a frame");
        frame
    }

    fn pair() -> (World, World) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).expect("sockets");
        (World::new(one), World::new(other))
    }

    #[test]
    fn nothing_leaves_for_the_callers_loopback() {
        assert!(may_leave(&v4([192, 0, 2, 1])) && may_leave(&v6("2001:db8::1")));
        for to in [[127, 0, 0, 1], [127, 9, 9, 9], [0, 0, 0, 0]] {
            assert!(!may_leave(&v4(to)), "{to:?}");
        }
        for to in ["::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"] {
            assert!(!may_leave(&v6(to)), "{to}");
        }
        // What is no packet at all, and what hides one behind a tag (IEEE 802.1Q).
        let mut tagged = v4([127, 0, 0, 1]);
        tagged.splice(12..12, [0x81, 0, 0, 1]);
        assert!(!may_leave(&tagged) && !may_leave(&tagged[..13]) && !may_leave(&v4([8, 8, 8, 8])[..32]));
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let (ours, mut theirs) = pair();
        let frames = [v4([192, 0, 2, 1]), v6("2001:db8::1"), vec![7; 3]];
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend(u32::try_from(frame.len()).expect("a length").to_be_bytes());
            bytes.extend(frame);
        }
        let mut got = Vec::new();
        for byte in &bytes {
            ours.write(&[IoSlice::new(&[*byte])]).expect("sent");
            theirs.receive(|frame| got.push(frame.to_vec())).expect("open");
        }
        assert_eq!(got, frames);
        assert!(ours.write(&[IoSlice::new(&[255; 4])]).is_ok() && theirs.receive(|_| ()).is_err());
    }

    #[test]
    fn what_is_not_taken_is_dropped_whole() {
        let (mut ours, mut theirs) = pair();
        let frame = v4([192, 0, 2, 1]);
        let mut sent = 0;
        while ours.send(&frame) {
            sent += 1;
        }
        let mut got = 0;
        while got < sent {
            theirs
                .receive(|one| {
                    assert_eq!(one, frame);
                    got += 1;
                })
                .expect("open");
        }
        assert!(ours.send(&frame));
        drop(ours);
        theirs.receive(|one| assert_eq!(one, frame)).expect("open");
        assert_eq!(theirs.receive(|_| ()), Err(Errno::ECONNRESET));
    }
}
