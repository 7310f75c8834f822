//! Whether a file of the upper layer and one of the layers below are the same.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use chain::{Doing, Result, errno};
use rustix::{
    fs::{SeekFrom, readlinkat, seek},
    io::pread,
};

use super::{
    Entry, Prefix,
    dir::open_file,
    file::Kind,
    lower::{Lower, Lowers},
};

/// Whether owner, permissions and attributes are the same, and but for directories the time of the last
/// change: that of a directory tells when there was an entry more or less in it.
pub fn same_metadata(
    dir: BorrowedFd,
    prefix: Prefix,
    entry: &Entry,
    lowers: &Lowers,
    lower: &Lower,
) -> Result<bool> {
    let (stat, below) = (&entry.stat, &lower.stat);
    let of_kind = match stat.kind {
        Kind::Directory => true,
        _ => stat.mtime == below.mtime,
    };
    if (stat.mode, stat.uid, stat.gid) != (below.mode, below.uid, below.gid) || !of_kind {
        return Ok(false);
    }
    let own = if entry.marks.attributes {
        prefix.attributes(dir, &entry.name).doing(|| format!("read the attributes of {}", entry.shown()))?
    } else {
        Vec::new()
    };
    Ok(own == lowers.attributes(&lower.file)?)
}

/// Whether two files of the same kind hold the same.
pub fn same_content(dir: BorrowedFd, entry: &Entry, lowers: &Lowers, lower: &Lower) -> Result<bool> {
    let (stat, below) = (&entry.stat, &lower.stat);
    match stat.kind {
        Kind::CharDevice | Kind::BlockDevice => Ok(stat.rdev == below.rdev),
        Kind::Directory | Kind::Fifo | Kind::Socket => Ok(true),
        _ if stat.size != below.size => Ok(false),
        Kind::Symlink => {
            let (layer, path) = &lower.file;
            let (below, name) = lowers.parent(*layer, path)?;
            Ok(target(dir, &entry.name)? == target(below.as_fd(), &name)?)
        }
        Kind::Regular if stat.size == 0 => Ok(true),
        Kind::Regular => {
            let Some((layer, path)) = &lower.content else { return Ok(false) };
            let (below, name) = lowers.parent(*layer, path)?;
            let doing = || format!("read {}", path.display());
            let own = open_file(dir, &entry.name).doing(doing)?;
            same_bytes(&own, &open_file(below, &name).doing(doing)?).doing(doing)
        }
    }
}

/// Where a symbolic link leads.
pub(crate) fn target(dir: BorrowedFd, name: &CStr) -> Result<Vec<u8>> {
    let target = readlinkat(dir, name, Vec::new());
    target.map(std::ffi::CString::into_bytes).doing(|| format!("read the link {}", name.to_string_lossy()))
}

/// Compares what is not a hole in both.
fn same_bytes(one: &OwnedFd, other: &OwnedFd) -> nix::Result<bool> {
    const ROOM: usize = 64 * 1024;
    let (mut here, mut there) = (vec![0; ROOM], vec![0; ROOM]);
    let mut at = 0;
    loop {
        let data = [next_data(one, at)?, next_data(other, at)?];
        let Some(next) = data.into_iter().flatten().min() else { return Ok(true) };
        at = next;
        let length = pread(one, &mut here, at).map_err(errno)?;
        let mut same = 0;
        while same < length {
            match pread(other, &mut there[..length - same], at + same as u64).map_err(errno)? {
                0 => return Ok(false),
                more if here[same..same + more] != there[..more] => return Ok(false),
                more => same += more,
            }
        }
        if length == 0 {
            return Ok(pread(other, &mut there, at).map_err(errno)? == 0);
        }
        at += length as u64;
    }
}

/// Where the next bytes are that are not in a hole; `None` if there are none (SEEK_DATA of lseek(2)). A
/// filesystem that knows of no holes has them at once.
pub(crate) fn next_data(file: impl AsFd, from: u64) -> nix::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(rustix::io::Errno::INVAL) => Ok(Some(from)),
        Err(other) => Err(errno(other)),
    }
}
