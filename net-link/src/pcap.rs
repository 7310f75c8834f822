//! A record of the frames on a link, as wireshark(1) and tcpdump(8) read it: pcap-savefile(5), with nanoseconds.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MAGIC_OF_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;

/// The file that frames are written to, as they pass the box's end of the link.
#[derive(Debug)]
pub(crate) struct Pcap(BufWriter<File>);

impl Pcap {
    /// Writes the header.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        for number in [MAGIC_OF_NANOSECONDS, 2 | 4 << 16, 0, 0, u32::from(u16::MAX), LINKTYPE_ETHERNET] {
            file.write_all(&number.to_ne_bytes())?;
        }
        file.flush()?;
        Ok(Self(file))
    }

    pub(crate) fn add(&mut self, frame: &[u8], at: SystemTime) -> io::Result<()> {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        // The format's seconds end in 2106.
        let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        for number in [seconds, at.subsec_nanos(), length, length] {
            self.0.write_all(&number.to_ne_bytes())?;
        }
        self.0.write_all(frame)
    }

    /// So that who follows the file sees what has passed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn a_record_has_the_time_and_the_frame() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut pcap = Pcap::new(file.try_clone().expect("a descriptor")).expect("a header");
        pcap.add(b"frame", UNIX_EPOCH + Duration::new(7, 9)).expect("a record");
        pcap.flush().expect("flush");
        let mut bytes = Vec::new();
        file.rewind().expect("rewind");
        file.read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes.len(), 24 + 16 + 5);
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((number(0), number(20)), (MAGIC_OF_NANOSECONDS, 1));
        assert_eq!([number(24), number(28), number(32), number(36)], [7, 9, 5, 5]);
        assert_eq!(&bytes[40..], b"frame");
    }
}
