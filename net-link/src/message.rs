//! What a box and the process that holds its LAN say to each other: one JSON text a message, with descriptors beside
//! it (unix(7), SOCK_SEQPACKET and SCM_RIGHTS).

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use chain::errno;
use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
};
use rustix::{
    cmsg_space,
    fs::{MemfdFlags, memfd_create},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::switch::Passed;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To be known, so that the LAN stays.
    Hello,
    /// For a link. The descriptors: where its frames are, unless the kernel passes them on alone; rtnetlink where the
    /// other interface is, if there is one; the same for the box's, if the kernel is the engine; with `has_hosts` the box's
    /// /etc/hosts; and, if there is another one, a file for frames.
    Join {
        /// Settings as they are typed.
        words: Vec<String>,
        /// Nanoseconds from now, and settings.
        steps: Vec<(u64, Vec<String>)>,
        /// Where the link is the host's side of another one, which has the settings.
        is_host: bool,
        /// What the other interface is called.
        other: Option<String>,
        kernel: Option<Kernel>,
        has_hosts: bool,
    },
    /// For another condition, of one box or of all.
    Change { of: Option<String>, words: Vec<String> },
    /// For a way out to the world, for the link that the asker has. The descriptor: a stream of frames.
    LeadOut,
    /// What the asker's own links are: each as [`Answer::Member`].
    Own,
    /// Who is there: each as [`Answer::Member`].
    Members,
    /// To be let go: each link as [`Answer::Member`] once more. Where all that the box reaches goes too, what it has sent is
    /// to arrive before that, for a second at most.
    Leave { arrives: bool },
}

/// A link that the kernel is the engine of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// What the box's interface is called.
    pub(crate) name: String,
    /// Nothing of ours is in between.
    pub(crate) is_alone: bool,
    /// The addresses of the other interface, as they are typed.
    pub(crate) nets: Vec<String>,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// With the addresses of the link, as they are typed.
    Joined { nets: Vec<String> },
    /// One of several.
    Member(Box<Member>),
    /// That was all.
    Done,
    /// What nobody has asked: the way out has ended.
    NoWayOut,
    /// What nobody has asked either: a line for who has begun the box.
    Note(String),
    /// It was the last one, and the LAN ends.
    Ended,
    /// No, and why.
    Refused { doing: String, why: String, hint: String },
}

/// A box in a LAN, as `--show` has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: Option<String>,
    pub(crate) addresses: Vec<String>,
    /// Of the supervisor; 0 if it cannot be seen from where it is asked.
    pub(crate) pid: i32,
    /// Words that make the link what it is.
    pub(crate) link: Vec<String>,
    /// The part of a LAN that is cut in parts, as they are counted there from 1, and 0 the rest.
    pub(crate) part: Option<usize>,
    #[serde(flatten)]
    pub(crate) passed: Passed,
    /// Why the record of frames ended early.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) pcap_error: Option<String>,
    /// Why the kernel does not do what the link is to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) engine_error: Option<String>,
}

/// The largest text that is in the message itself.
const MOST: usize = 128 << 10;
/// The largest in a file: one with a long script is the longest, and that has more words here than where it is typed.
const MOST_IN_FILE: u64 = 16 << 20;
const MOST_DESCRIPTORS: usize = 5;
/// In place of a text that is in the first of the descriptors: JSON, but no message.
const IN_FILE: &[u8] = b"0";

/// Sends one.
pub(crate) fn send(
    socket: BorrowedFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd],
) -> nix::Result<()> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    if text.len() <= MOST {
        return send_text(socket, &text, descriptors);
    }
    let mut file = File::from(memfd_create("net-link", MemfdFlags::CLOEXEC).map_err(errno)?);
    file.write_all(&text).map_err(|_| Errno::ENOSPC)?;
    send_text(socket, IN_FILE, &[&[file.as_fd()], descriptors].concat())
}

/// The text that is in the first of the descriptors.
fn text_in(descriptors: &mut Vec<OwnedFd>) -> nix::Result<Vec<u8>> {
    if descriptors.is_empty() {
        return Err(Errno::EBADMSG);
    }
    let file = File::from(descriptors.remove(0));
    let mut text = Vec::new();
    // The place in it is where the other side has stopped to write.
    let mut at = 0;
    let mut part = vec![0; MOST];
    while at <= MOST_IN_FILE {
        match file.read_at(&mut part, at) {
            Ok(0) => return Ok(text),
            Ok(bytes) => {
                text.extend(&part[..bytes]);
                at += bytes as u64;
            }
            Err(_) => break,
        }
    }
    Err(Errno::EBADMSG)
}

/// The same for a message that is text already.
pub(crate) fn send_text(socket: BorrowedFd, text: &[u8], descriptors: &[BorrowedFd]) -> nix::Result<()> {
    if text.len() > MOST {
        return Err(Errno::EMSGSIZE);
    }
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(text)], control, flags, None).map(drop)
}

/// The next one; `None` when the other side has closed. EBADMSG if it is none, or one with more descriptors than any has:
/// those that came are closed, and so are they if there was no room for all.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd) -> nix::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0; MOST];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(errno)?;
    let mut descriptors = Vec::new();
    for control in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = control {
            descriptors.extend(more);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let is_cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        || descriptors.len() > MOST_DESCRIPTORS;
    text.truncate(received.bytes);
    if text == IN_FILE {
        text = text_in(&mut descriptors)?;
    }
    match serde_json::from_slice(&text) {
        Ok(message) if !is_cut => Ok(Some((message, descriptors))),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::fd::AsFd};

    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn descriptors_of_a_message_that_has_too_many_are_closed() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (ours, theirs) = pair.expect("sockets");
        for count in [MOST_DESCRIPTORS + 1, 253] {
            let (reader, writer) = nix::unistd::pipe().expect("a pipe");
            send(ours.as_fd(), &Ask::Members, &vec![writer.as_fd(); count]).expect("sent");
            drop(writer);
            assert_eq!(receive::<Ask>(theirs.as_fd()).expect_err("too many"), Errno::EBADMSG);
            // It ends when nobody has the other side.
            let mut said = Vec::new();
            assert_eq!(File::from(reader).read_to_end(&mut said).expect("an end"), 0);
        }
    }
}
