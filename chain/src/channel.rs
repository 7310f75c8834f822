//! The pipe over which the child tells why it failed. Exec closes it, which tells that it did not.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::pipe2,
};

use crate::error::{Doing, Error, FAILED, Result};

/// A pipe of which each side of the clone keeps one end.
pub(crate) struct Channel {
    pub(crate) reader: File,
    pub(crate) writer: File,
}

impl Channel {
    pub(crate) fn new() -> Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into())?;
        Ok(Self { reader: reader.into(), writer: writer.into() })
    }
}

/// Sends the error; if nobody listens, there is nobody to tell.
pub(crate) fn send(writer: &mut File, error: &Error) {
    let _ = writer.write_all(&encode(error));
}

/// Reads what there is; `true` at end of file. Called when the reader is known to be readable.
pub(crate) fn receive(reader: &mut File, into: &mut Vec<u8>) -> Result<bool> {
    let mut part = [0; 4096];
    let length = reader.read(&mut part).doing(|| "listen to the child".into())?;
    into.extend_from_slice(&part[..length]);
    Ok(length == 0)
}

/// Whether the other side of the pipe, and so the supervisor, is gone.
pub(crate) fn is_deaf(writer: BorrowedFd) -> bool {
    let mut fds = [PollFd::new(writer.as_fd(), PollFlags::empty())];
    let gone = |fd: &PollFd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
    poll(&mut fds, PollTimeout::ZERO).is_ok() && gone(&fds[0])
}

// The parts of an error never hold a NUL: they are text and paths.
const FIELDS: usize = 6;

fn encode(error: &Error) -> Vec<u8> {
    let errno = error.errno.map_or(0, |errno| errno as i32);
    [&error.status.to_string(), &errno.to_string(), &error.link, &error.doing, &error.words, &error.hint]
        .map(String::as_bytes)
        .join(&0)
}

/// The error that the child sent, or `None` if it sent nothing.
pub(crate) fn decode(bytes: &[u8]) -> Option<Error> {
    if bytes.is_empty() {
        return None;
    }
    let fields: Vec<_> = bytes.splitn(FIELDS, |byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let text = |at: usize| fields.get(at).map_or_else(String::new, std::string::ToString::to_string);
    Some(Error {
        status: text(0).parse().unwrap_or(FAILED),
        errno: text(1).parse().ok().filter(|errno| *errno != 0).map(Errno::from_raw),
        link: text(2),
        doing: text(3),
        words: text(4),
        hint: text(5),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_error_arrives_as_it_was_sent(
            parts in proptest::array::uniform4("[^\\x00]*"), errno in 0..133, status: u8,
        ) {
            let [link, doing, words, hint] = parts;
            let errno = (errno != 0).then(|| Errno::from_raw(errno)).filter(|e| *e != Errno::UnknownErrno);
            let error = Error { link, doing, errno, words, hint, status };
            prop_assert_eq!(decode(&encode(&error)), Some(error));
        }
    }

    #[test]
    fn silence_is_no_error() {
        assert_eq!(decode(b""), None);
    }
}
