//! The pipes between supervisor and child: over one the child tells how far it is and why it failed,
//! over the other it is let go on. Exec closes both, which tells that NEXT runs.

use std::{
    fs::File,
    io::{Read, Write},
    mem,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
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

/// What a child tells its supervisor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// All links have entered; it waits to become NEXT.
    Ready,
    /// It is the init of its pid namespace, and runs NEXT.
    InitRuns,
    /// It is such an init, and NEXT was stopped by this signal.
    Stopped(Signal),
    /// It could not become NEXT. The last word.
    Failed(Error),
}

const READY: u8 = b'r';
const INIT_RUNS: u8 = b'i';
const STOPPED: u8 = b's';
const FAILED_WORD: u8 = b'f';

/// Tells the supervisor; if nobody listens, there is nobody to tell. It may look at the pipe only after
/// the end of the child, so what is longer than a pipe holds (64 KiB, pipe(7)) is cut off.
pub(crate) fn tell(mut report: &File, word: &Word) {
    let _ = fcntl(report, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    let bytes = match word {
        Word::Ready => vec![READY],
        Word::InitRuns => vec![INIT_RUNS],
        // A signal's number is below 64.
        Word::Stopped(signal) => vec![STOPPED, *signal as u8],
        Word::Failed(error) => [&[FAILED_WORD][..], &encode(error)].concat(),
    };
    let _ = report.write_all(&bytes);
}

/// The most that is kept of what a child says: all that a pipe holds (pipe(7)).
const MOST_BYTES: usize = 65_536;

/// The supervisor's end of the pipe over which the child tells.
pub(crate) struct Report {
    reader: Option<File>,
    /// What has come and is no whole word yet.
    bytes: Vec<u8>,
}

impl Report {
    /// Without a reader there is nothing to hear.
    pub(crate) fn new(reader: Option<File>) -> Self {
        Self { reader, bytes: Vec::new() }
    }

    /// The end to wait on; `None` once the other end is closed.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what has come. Called when the pipe is known to be readable.
    pub(crate) fn listen(&mut self) -> Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut part = [0; 4096];
        let length = reader.read(&mut part).doing(|| "listen to the child".into())?;
        self.bytes.extend_from_slice(&part[..length]);
        // No child of ours says so much, but root in a box can write to the pipe of its process 1.
        if length == 0 || self.bytes.len() > MOST_BYTES {
            self.reader = None;
        }
        Ok(())
    }

    /// Whether something has come that was not taken as a word yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next word that is whole. An error is whole when the other end is closed.
    pub(crate) fn next(&mut self) -> Option<Word> {
        let (word, length) = match (*self.bytes.first()?, self.bytes.get(1)) {
            (READY, _) => (Word::Ready, 1),
            (INIT_RUNS, _) => (Word::InitRuns, 1),
            (STOPPED, signal) => (Word::Stopped(Signal::try_from(i32::from(*signal?)).ok()?), 2),
            _ if self.reader.is_some() => return None,
            _ => return Some(Word::Failed(decode(&mem::take(&mut self.bytes)[1..]))),
        };
        self.bytes.drain(..length);
        Some(word)
    }

    /// The error that was told last, if one was. Called when all who could tell have ended.
    pub(crate) fn last_word(&mut self) -> Result<Option<Error>> {
        while self.reader.is_some() {
            self.listen()?;
        }
        Ok(std::iter::from_fn(|| self.next()).find_map(|word| match word {
            Word::Failed(error) => Some(error),
            _ => None,
        }))
    }
}

/// The child's end of the pipe over which it is let go on.
pub(crate) struct Gate(File);

impl Gate {
    pub(crate) fn new(reader: File) -> Self {
        Self(reader)
    }

    /// Waits to be let go on; `false` if the supervisor gave up or is gone.
    pub(crate) fn wait(&self) -> Result<bool> {
        let mut go = [0];
        let length = (&self.0).read(&mut go).doing(|| "listen to the supervisor".into())?;
        Ok(length > 0)
    }
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

fn decode(bytes: &[u8]) -> Error {
    let fields: Vec<_> = bytes.splitn(FIELDS, |byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let text = |at: usize| fields.get(at).map_or_else(String::new, std::string::ToString::to_string);
    Error {
        status: text(0).parse().unwrap_or(FAILED),
        errno: text(1).parse().ok().filter(|errno| *errno != 0).map(Errno::from_raw),
        link: text(2),
        doing: text(3),
        words: text(4),
        hint: text(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the supervisor understands of these words.
    fn heard(words: &[Word]) -> Vec<Word> {
        let Channel { reader, writer } = Channel::new().expect("pipe");
        for word in words {
            tell(&writer, word);
        }
        drop(writer);
        let mut report = Report::new(Some(reader));
        let mut heard = Vec::new();
        while report.fd().is_some() {
            report.listen().expect("read");
            heard.extend(std::iter::from_fn(|| report.next()));
        }
        heard
    }

    proptest! {
        #[test]
        fn an_error_arrives_as_it_was_sent(
            parts in proptest::array::uniform4("[^\\x00]*"), errno in 0..133, status: u8,
        ) {
            let [link, doing, words, hint] = parts;
            let errno = (errno != 0).then(|| Errno::from_raw(errno)).filter(|e| *e != Errno::UnknownErrno);
            let error = Error { link, doing, errno, words, hint, status };
            prop_assert_eq!(decode(&encode(&error)), error);
        }
    }

    #[test]
    fn words_arrive_one_by_one_and_an_error_last() {
        let words = || {
            vec![
                Word::Ready,
                Word::InitRuns,
                Word::Stopped(Signal::SIGTSTP),
                Word::Stopped(Signal::SIGTTIN),
                Word::Failed(Error::os("run x", Errno::ENOENT).hint("is it there?").with_status(127)),
            ]
        };
        assert_eq!(heard(&words()), words());
    }

    #[test]
    fn silence_says_nothing() {
        assert_eq!(heard(&[]), []);
    }
}
