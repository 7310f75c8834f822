//! A layer as a directory that can be the lower one of an overlay (OCI image specification 1.1, layer.md).
//!
//! A layer may come from anybody. Nothing in it is followed out of the directory: each name is resolved beneath
//! it and through no symbolic link (openat2(2)), and what makes no sense is refused, not mended.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result, Size};
use nix::errno::Errno;
use tar::{Archive, EntryType};

use super::{read::Metered, tree::Tree};
use crate::own;

/// The most that names and attributes of one entry may take: PATH_MAX twice, and all extended attributes that a
/// file may have (xattr(7)).
const HEADERS: u64 = 1 << 20;

/// The most that may follow the last entry: some fill a record, which is a tape's at most.
const PADDING: u64 = 16 << 20;

/// What may be in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Of all files together.
    pub(crate) size: Size,
    /// Files, directories, and all else.
    pub(crate) entries: u64,
    /// Whether there may be device nodes.
    pub(crate) devices: bool,
}

/// Unpacks the layer in `file`, whose name is `name`, as the directory `target`, which must not be there or be
/// empty. It is there as a whole or not at all.
pub(crate) fn unpack(file: File, name: &str, target: &Path, bounds: Bounds) -> Result<()> {
    let doing = || format!("make {}", target.display());
    let real = target.components().collect::<PathBuf>();
    let Some(base) = real.file_name() else {
        return Err(Error::new(doing(), "not the name of a new directory"));
    };
    let mut beside = OsStr::new(".").to_owned();
    beside.push(base);
    beside.push(format!(".{}", std::process::id()));
    // What can be known before is not found out after all is unpacked.
    if fs::read_dir(&real).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Errno::ENOTEMPTY).doing(doing).remedy(Errno::ENOTEMPTY, "it is there, and not empty");
    }
    let beside = real.with_file_name(beside);
    fs::DirBuilder::new().mode(0o700).create(&beside).doing(doing)?;
    let done = fill(file, name, &beside, bounds).and_then(|()| {
        fs::rename(&beside, &real)
            .doing(doing)
            .remedy(Errno::ENOTEMPTY, "it is there, and not empty")
            .remedy(Errno::EEXIST, "it is there, and not empty")
    });
    if done.is_err() {
        // Also what has got a mode by which its owner may not write to it.
        let above = beside.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = beside.file_name().unwrap_or_default().as_bytes();
        if let (Ok(above), Ok(name)) = (File::open(above), CString::new(name)) {
            let _ = own::remove(above, &name);
        }
    }
    done
}

fn fill(file: File, name: &str, dir: &Path, bounds: Bounds) -> Result<()> {
    let reading = || format!("read {name}");
    let (reader, left) = Metered::new(file, name)?;
    let is_plain = reader.is_plain;
    let mut is_first = true;
    let mut archive = Archive::new(reader);
    let mut tree = Tree::new(dir, bounds)?;
    let mut entries = archive.entries().doing(reading)?;
    loop {
        left.set(HEADERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = match entry {
            // What is said of a header that is none says nothing to anybody.
            Err(error)
                if is_first
                    && is_plain
                    && error.raw_os_error().is_none()
                    && error.kind() != ErrorKind::FileTooLarge =>
            {
                return Err(Error::new(reading(), "not a tar, nor one compressed by gzip or zstd"));
            }
            entry => entry.doing(reading)?,
        };
        is_first = false;
        // What it says of all entries after it, in a tar of git archive which commit it is of, is no file.
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        left.set(HEADERS.saturating_add(entry.size()));
        let path = entry.path_bytes().into_owned();
        tree.add(&mut entry)
            .map_err(|error| error.within(&format!("{name}: {}", OsStr::from_bytes(&path).display())))?;
    }
    let mut reader = archive.into_inner();
    // Two empty blocks end a tar (POSIX.1-2017, pax, "ustar Interchange Format"), of which the first says that no entry
    // follows. Without it nothing tells a layer that was cut from a whole one, compressed or not.
    if reader.has_ended {
        return Err(Error::new(reading(), "it does not end as a tar does, so entries may be missing")
            .hint("it was cut, or what made it did not finish"));
    }
    // What is damaged is known at the end of the stream only, where the checksum is.
    left.set(PADDING);
    io::copy(&mut reader, &mut io::sink()).doing(reading)?;
    tree.finish()
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use proptest::{collection::vec, prelude::*, sample::Index};

    /// A layer of some entries, and then bytes of it that are others.
    fn layer() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            "[ab]{1,2}(/[ab]{1,2}){0,2}/?",
            "(\\.\\.|\\.wh\\.a|\\.wh\\.\\.wh\\.\\.opq|/a|a//\\.)"
        ];
        let entry = (name, 0_u8..9, "[ab./]{0,5}", vec(any::<u8>(), 0..9));
        (vec(entry, 0..6), vec((any::<Index>(), any::<u8>()), 0..6), any::<bool>()).prop_map(
            |(entries, changes, is_zipped)| {
                let mut builder = tar::Builder::new(Vec::new());
                for (name, kind, link, content) in entries {
                    let mut header = tar::Header::new_gnu();
                    let bytes = header.as_mut_bytes();
                    bytes[..name.len()].copy_from_slice(name.as_bytes());
                    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
                    bytes[156] = b'0' + kind;
                    header.set_mode(0o644);
                    header.set_size(if kind == 0 { content.len() as u64 } else { 0 });
                    header.set_cksum();
                    let _ = builder.append(&header, if kind == 0 { content.as_slice() } else { &[] });
                }
                let mut bytes = builder.into_inner().unwrap_or_default();
                for (at, byte) in changes {
                    let at = at.index(bytes.len().max(1));
                    bytes.get_mut(at).into_iter().for_each(|place| *place = byte);
                }
                if is_zipped {
                    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    let _ = zip.write_all(&bytes);
                    bytes = zip.finish().unwrap_or_default();
                }
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn no_layer_panics_or_leaves_its_directory(bytes in prop_oneof![layer(), vec(any::<u8>(), 0..600)]) {
            let dir = tempfile::tempdir().expect("a directory");
            let mut file = tempfile::tempfile_in(dir.path()).expect("a file");
            file.write_all(&bytes).and_then(|()| file.rewind()).expect("a layer");
            let bounds = Bounds { size: Size(1 << 16), entries: 20, devices: false };
            let done = unpack(file, "layer", &dir.path().join("target"), bounds);
            let left: Vec<_> = fs::read_dir(dir.path()).expect("list").flatten().map(|entry| entry.file_name()).collect();
            let expected: &[&str] = if done.is_ok() { &["target"] } else { &[] };
            prop_assert_eq!(left, expected);
        }
    }
}
