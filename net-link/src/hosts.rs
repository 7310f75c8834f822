//! The names of a LAN's boxes as each box sees them: lines of its /etc/hosts (hosts(5)), which come and go while programs
//! read it.
//!
//! All lines have the same length and a place that does not cross a page, and none moves. One that goes becomes a
//! comment by its first byte, and one that takes its place is a comment until all else of it is there: who reads in
//! between sees each box or does not, but never half of one.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::IpAddr,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use chain::{Doing, Error, Result};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use crate::switch::{Id, Who};

/// Bytes of a line: an address, a name, and blanks.
const LENGTH: usize = 128;

type Line = [u8; LENGTH];

fn line(address: IpAddr, name: &str) -> Line {
    let mut line = [b' '; LENGTH];
    line[LENGTH - 1] = b'\n';
    for (to, from) in line[..LENGTH - 1].iter_mut().zip(format!("{address} {name}").bytes()) {
        *to = from;
    }
    line
}

/// A file's text with blanks at its end, so that lines can follow.
pub(crate) fn padded(mut text: Vec<u8>) -> Vec<u8> {
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    if !text.len().is_multiple_of(LENGTH) {
        text.resize(text.len().next_multiple_of(LENGTH) - 1, b' ');
        text.push(b'\n');
    }
    text
}

/// A box's file.
pub(crate) struct Copy {
    file: File,
    /// Where lines begin.
    begin: u64,
}

impl Copy {
    /// Of a file that has what [`padded`] gives. It must be in memory: who holds the LAN does not wait for a disk, nor
    /// for who answers for a filesystem.
    pub(crate) fn new(file: OwnedFd) -> Result<Self> {
        let doing = || "take the box's /etc/hosts".to_owned();
        let file = File::from(file);
        let found = file.metadata().doing(doing)?;
        let in_memory = fstatfs(&file).doing(doing)?.filesystem_type() == TMPFS_MAGIC;
        if found.is_file() && in_memory {
            Ok(Self { file, begin: found.len() })
        } else {
            Err(Error::new(doing(), "it is no file in memory"))
        }
    }

    fn place(&self, at: usize) -> u64 {
        self.begin + u64::try_from(at * LENGTH).unwrap_or(0)
    }

    fn append(&self, at: usize, line: &Line) -> io::Result<()> {
        self.file.write_all_at(line, self.place(at))
    }

    /// Puts a line where a comment is.
    fn replace(&self, at: usize, line: &Line) -> io::Result<()> {
        self.file.write_all_at(&line[1..], self.place(at) + 1)?;
        self.file.write_all_at(&line[..1], self.place(at))
    }

    fn clear(&self, at: usize) -> io::Result<()> {
        self.file.write_all_at(b"#", self.place(at))?;
        self.file.write_all_at(&[b' '; LENGTH - 2], self.place(at) + 1)
    }
}

/// All lines, and all files that have them.
#[derive(Default)]
pub(crate) struct Hosts {
    /// `None` where one has gone.
    lines: Vec<Option<(Id, Line)>>,
    copies: BTreeMap<Id, Copy>,
}

impl Hosts {
    /// Tells all of a box that has come, and the box of all.
    pub(crate) fn add(&mut self, id: Id, who: &Who, copy: Option<Copy>) -> io::Result<()> {
        for address in who.nets.iter().map(|net| net.address) {
            let Some(name) = &who.name else { break };
            let line = line(address, name);
            let free = self.lines.iter().position(Option::is_none);
            for copy in self.copies.values() {
                // The others' files have room for all. If their memory is short, that is not this box's fault.
                let _ = match free {
                    Some(at) => copy.replace(at, &line),
                    None => copy.append(self.lines.len(), &line),
                };
            }
            match free {
                Some(at) => self.lines[at] = Some((id, line)),
                None => self.lines.push(Some((id, line))),
            }
        }
        let Some(copy) = copy else { return Ok(()) };
        for (at, line) in self.lines.iter().enumerate() {
            let mut gone = [b' '; LENGTH];
            (gone[0], gone[LENGTH - 1]) = (b'#', b'\n');
            copy.append(at, line.as_ref().map_or(&gone, |(_, line)| line))?;
        }
        self.copies.insert(id, copy);
        Ok(())
    }

    /// Tells all that a box has gone.
    pub(crate) fn remove(&mut self, id: Id) {
        self.copies.remove(&id);
        for (at, line) in self.lines.iter_mut().enumerate() {
            if line.as_ref().is_some_and(|(of, _)| *of == id) {
                *line = None;
                for copy in self.copies.values() {
                    let _ = copy.clear(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn who(name: &str, nets: &[&str]) -> Who {
        let nets = nets.iter().map(|net| net.parse().expect("a net")).collect();
        Who { name: Some(name.into()), nets }
    }

    fn copy(text: &str) -> (Copy, File) {
        let file = File::from(memfd_create("hosts", MFdFlags::empty()).expect("a file"));
        file.write_all_at(&padded(text.into()), 0).expect("written");
        let same = file.try_clone().expect("a descriptor");
        (Copy::new(file.into()).expect("a copy"), same)
    }

    fn text(file: &File) -> String {
        let mut bytes = vec![0; usize::try_from(file.metadata().expect("a file").len()).expect("a size")];
        file.read_exact_at(&mut bytes, 0).expect("read");
        String::from_utf8(bytes).expect("text")
    }

    /// Lines without the blanks at their ends.
    fn lines(file: &File) -> Vec<String> {
        let text = text(file);
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn each_box_sees_the_others_after_what_its_host_has() {
        let mut hosts = Hosts::default();
        let (web, web_file) = copy("127.0.0.1 localhost");
        let (db, db_file) = copy("");
        hosts.add(0, &who("web", &["10.9.0.1/24", "fd00::1/64"]), Some(web)).expect("added");
        hosts.add(1, &who("db", &["10.9.0.2/24"]), Some(db)).expect("added");
        assert_eq!(lines(&web_file), ["127.0.0.1 localhost", "10.9.0.1 web", "fd00::1 web", "10.9.0.2 db"]);
        assert_eq!(lines(&db_file), ["10.9.0.1 web", "fd00::1 web", "10.9.0.2 db"]);
        hosts.remove(0);
        assert_eq!(lines(&db_file), ["#", "#", "10.9.0.2 db"]);
        hosts.add(2, &who("mail", &["10.9.0.3/24"]), None).expect("added");
        assert_eq!(lines(&db_file), ["10.9.0.3 mail", "#", "10.9.0.2 db"]);
        // Who has gone is told nothing more.
        assert_eq!(lines(&web_file).len(), 4);
        assert_eq!(text(&db_file).len() % LENGTH, 0);
    }

    #[test]
    fn the_longest_line_fits() {
        let name = "n".repeat(63);
        let address: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8888".parse().expect("an address");
        let line = line(address, &name);
        assert_eq!(String::from_utf8_lossy(&line).trim_end(), format!("{address} {name}"));
    }

    #[test]
    fn only_a_file_in_memory_is_taken() {
        let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
        assert!(Copy::new(reader).is_err());
        assert!(Copy::new(File::open("/proc/self/status").expect("a file").into()).is_err());
    }

    /// Whole lines are read while boxes come and go in the same place.
    #[test]
    fn nobody_reads_half_of_a_line() {
        let (own, file) = copy("127.0.0.1 localhost");
        let mut hosts = Hosts::default();
        hosts.add(0, &who("own", &["10.9.0.1/24"]), Some(own)).expect("added");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while !is_over.load(Ordering::Relaxed) || seen == 0 {
                    for line in lines(&file).iter().filter(|line| !line.starts_with('#')) {
                        let known =
                            ["127.0.0.1 localhost", "10.9.0.1 own", "10.9.0.2 two", "10.9.99.99 many"];
                        assert!(known.contains(&line.as_str()), "{line}");
                        seen += 1;
                    }
                }
            });
            for _ in 0..5_000 {
                for (name, net) in [("two", "10.9.0.2/24"), ("many", "10.9.99.99/24")] {
                    hosts.add(1, &who(name, &[net]), None).expect("added");
                    hosts.remove(1);
                }
            }
            is_over.store(true, Ordering::Relaxed);
            reader.join().expect("whole lines");
        });
    }
}
