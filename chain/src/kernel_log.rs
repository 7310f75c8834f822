//! What the kernel says only in its log (/dev/kmsg, Documentation/ABI/testing/dev-kmsg): read after
//! a failure, where the user may read it.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

use nix::libc;

/// The log from one moment on. Its times are those of another clock than clock_gettime(2)'s, so the
/// moment is kept as a place in the log.
#[derive(Debug)]
pub struct KernelLog(Option<File>);

impl KernelLog {
    /// The log from now on; an empty one where it may not be read.
    pub fn from_now() -> Self {
        Self(open().filter(|mut log| log.seek(SeekFrom::End(0)).is_ok()))
    }

    /// All of the log that the kernel still has.
    pub fn whole() -> Self {
        Self(open())
    }

    /// The messages that were written since, oldest first.
    pub fn messages(self) -> impl Iterator<Item = String> {
        self.0.into_iter().flat_map(|mut log| std::iter::from_fn(move || next(&mut log)).flatten())
    }

    /// The last message since that begins with `prefix`: what the kernel has to say about the
    /// system call that has just failed.
    pub fn last_word(self, prefix: &str) -> Option<String> {
        self.messages().filter(|text| text.starts_with(prefix)).last()
    }
}

fn open() -> Option<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()
}

/// The next message, or `None` at the end; `Some(None)` for one that is not of the form.
#[expect(clippy::option_option, reason = "an iterator of what may not parse")]
fn next(log: &mut File) -> Option<Option<String>> {
    // Each read gives one record of at most this size (PRINTKRB_RECORD_MAX and its prefix), or fails with
    // EAGAIN after the last one.
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return None,
            Ok(length) => return Some(text_of(&String::from_utf8_lossy(&record[..length]))),
            // Older records were overwritten while we read; the next read goes on after them.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => return None,
        }
    }
}

/// The text of a record such as `6,339,5140900,-;text`, without the lines of properties after it.
fn text_of(record: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_record_is_what_follows_its_numbers() {
        let text = text_of("3,931,3760526530,-,caller=T1;overlayfs: no; really\n SUBSYSTEM=x\n");
        assert_eq!(text.as_deref(), Some("overlayfs: no; really"));
        assert_eq!(text_of("nonsense"), None);
    }
}
