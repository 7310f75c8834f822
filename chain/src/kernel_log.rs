//! What the kernel says only in its log (/dev/kmsg, Documentation/ABI/testing/dev-kmsg): read after
//! a failure, where the user may read it.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use nix::libc;
use rustix::time::{ClockId, clock_gettime};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was written, since boot.
    pub at: Duration,
    /// The message, without what comes before the `;` and without further lines.
    pub text: String,
}

impl Record {
    /// Reads `6,339,5140900,-;text`: priority, number, microseconds, flags.
    fn parse(record: &str) -> Option<Self> {
        let (prefix, text) = record.split_once(';')?;
        let micros = prefix.split(',').nth(2)?.parse().ok()?;
        Some(Self { at: Duration::from_micros(micros), text: text.lines().next()?.to_owned() })
    }
}

/// The messages that the kernel still has, oldest first; none if they may not be read.
pub fn records() -> impl Iterator<Item = Record> {
    let log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok();
    log.into_iter().flat_map(|mut log| std::iter::from_fn(move || next(&mut log)).flatten())
}

/// The last message that begins with `prefix`, if it was written within this second: what the
/// kernel has to say about a system call that has just failed.
pub fn just_said(prefix: &str) -> Option<String> {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.try_into().ok()?, 0);
    let recent = records().filter(|record| record.at + Duration::from_secs(1) >= now);
    recent.filter(|record| record.text.starts_with(prefix)).last().map(|record| record.text)
}

/// The next message, or `None` at the end; `Some(None)` for one that is not of the form.
#[expect(clippy::option_option, reason = "an iterator of what may not parse")]
fn next(log: &mut File) -> Option<Option<Record>> {
    // Each read gives one record of at most this size (PRINTKRB_RECORD_MAX and its prefix), or fails with
    // EAGAIN after the last one.
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return None,
            Ok(length) => return Some(Record::parse(&String::from_utf8_lossy(&record[..length]))),
            // Older records were overwritten while we read; the next read goes on after them.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_time_and_a_text() {
        let record = Record::parse("3,931,3760526530,-,caller=T1;overlayfs: no; really\n SUBSYSTEM=x\n");
        let at = Duration::from_micros(3_760_526_530);
        assert_eq!(record, Some(Record { at, text: "overlayfs: no; really".into() }));
        assert_eq!(Record::parse("nonsense"), None);
    }
}
