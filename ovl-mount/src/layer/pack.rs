//! The changes in an upper directory as a layer. The same changes give the same bytes: entries are in the order of
//! their names, and nothing is in them that is not the file's.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Result};
use tar::{Builder, EntryType, Header};

use super::{
    OPAQUE, WHITEOUT,
    attributes::{XATTR, check},
    read::Exactly,
};
use crate::changes::{
    Attribute, Dir, Entry, FileKind, Prefix, Stat,
    compare::target,
    dir::{open_dir, open_file},
    names,
};

/// Writes the layer of `upper`, which is an open directory, with no time in it that is later than `latest`.
pub(crate) fn pack<W: Write>(upper: &OwnedFd, prefix: Prefix, latest: Option<i64>, out: W) -> Result<W> {
    let mut layer = Layer { tar: Builder::new(out), prefix, latest, links: BTreeMap::new() };
    layer.add_all(upper, Path::new(""))?;
    layer.tar.into_inner().doing(|| "write the layer".into())
}

struct Layer<W: Write> {
    tar: Builder<W>,
    prefix: Prefix,
    latest: Option<i64>,
    /// The first name of each file that has several.
    links: BTreeMap<((u32, u32), u64), PathBuf>,
}

impl<W: Write> Layer<W> {
    fn add_all(&mut self, dir: &OwnedFd, path: &Path) -> Result<()> {
        let entries = Dir::new(dir.as_fd(), self.prefix).entries(path)?;
        // What is hidden comes first, as the specification wants it.
        let (hidden, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.marks.whiteout);
        for entry in hidden {
            if entry.name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
                let path = path.join(entry.os_name());
                return Err(Error::new(
                    path.display().to_string(),
                    "it was removed, which a layer cannot say of such a name",
                ));
            }
            let name = [OsStr::new(WHITEOUT), entry.os_name()].into_iter().collect::<OsString>();
            self.add_mark(&path.join(name))?;
        }
        for entry in files {
            let path = path.join(entry.os_name());
            names::check(&path, &entry, None)?;
            let inner = self.add(dir, &entry, &path);
            if let Some(inner) = inner.map_err(|error| error.within(&path.display().to_string()))? {
                self.add_all(&inner, &path)?;
            }
        }
        Ok(())
    }

    /// Adds what is at `path`; if it is a directory, it is given back, open, for what is in it.
    fn add(&mut self, above: &OwnedFd, found: &Entry, path: &Path) -> Result<Option<OwnedFd>> {
        if found.name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            return Err(Error::new("its name", "in a layer it would hide something"));
        }
        if found.marks.redirect.is_some() || found.marks.metacopy {
            let what = if found.marks.metacopy { "only its metadata changed" } else { "it was renamed" };
            return Err(Error::new(what, "a layer cannot say that")
                .hint("make the changes without --redirect-dir and --metacopy"));
        }
        let stat = &found.stat;
        let mut record = Record::new(path, stat, self.latest);
        if found.marks.attributes {
            let read = self.prefix.attributes(above.as_fd(), &found.name);
            record.extended(&read.doing(|| "read its attributes".into())?)?;
        }
        let added = match stat.kind {
            FileKind::Directory => {
                let dir = open_dir(above, &found.name).doing(|| "open it".into())?;
                // By custom its name ends with a slash.
                record.rename(&path.join(""));
                self.write(record, EntryType::Directory, io::empty())?;
                if found.marks.opaque {
                    self.add_mark(&path.join(format!("{WHITEOUT}{OPAQUE}")))?;
                }
                return Ok(Some(dir));
            }
            FileKind::Regular => {
                if let Some(first) = self.first_name(stat, path) {
                    let mut record = Record::new(path, stat, self.latest);
                    record.link(&first);
                    self.write(record, EntryType::Link, io::empty())?;
                    return Ok(None);
                }
                let file = open_file(above, &found.name).doing(|| "open it".into())?;
                record.header.set_size(stat.size);
                self.write(record, EntryType::Regular, Exactly::new(File::from(file), stat.size))
            }
            FileKind::Symlink => {
                let target = target(above.as_fd(), &found.name)?;
                record.link(&PathBuf::from(OsString::from_vec(target)));
                self.write(record, EntryType::Symlink, io::empty())
            }
            FileKind::Fifo => self.write(record, EntryType::Fifo, io::empty()),
            FileKind::CharDevice | FileKind::BlockDevice => {
                record.device(stat)?;
                let is_block = stat.kind == FileKind::BlockDevice;
                let kind = if is_block { EntryType::Block } else { EntryType::Char };
                self.write(record, kind, io::empty())
            }
            FileKind::Socket => {
                chain::note("ovl-layer", &format!("{}: left out, as a layer has no sockets", path.display()));
                Ok(())
            }
        };
        added.map(|()| None)
    }

    /// The name under which a file of several names is in the layer already.
    fn first_name(&mut self, stat: &Stat, path: &Path) -> Option<PathBuf> {
        if stat.nlink < 2 {
            return None;
        }
        let known = self.links.entry(stat.identity());
        let mut is_known = true;
        let first = known.or_insert_with(|| {
            is_known = false;
            path.to_path_buf()
        });
        is_known.then(|| first.clone())
    }

    /// An empty file that says something about its directory.
    fn add_mark(&mut self, path: &Path) -> Result<()> {
        self.write(Record::empty(path), EntryType::Regular, io::empty())
    }

    fn write(&mut self, mut record: Record, kind: EntryType, content: impl io::Read) -> Result<()> {
        let doing = || "write the layer".to_owned();
        record.header.set_entry_type(kind);
        record.header.set_cksum();
        if !record.extensions.is_empty() {
            let extensions = record.extensions.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.tar.append_pax_extensions(extensions).doing(doing)?;
        }
        self.tar.append(&record.header, content).doing(doing)
    }
}

/// How a PAX header gives a name that is too long for the other (pax(1), "pax Header Block").
const PATH: &str = "path";

struct Record {
    header: Header,
    extensions: Vec<(String, Vec<u8>)>,
}

impl Record {
    fn empty(path: &Path) -> Self {
        let mut record = Self { header: Header::new_ustar(), extensions: Vec::new() };
        record.header.set_mode(0o644);
        record.header.set_size(0);
        record.header.set_mtime(0);
        record.header.set_uid(0);
        record.header.set_gid(0);
        record.rename(path);
        record
    }

    fn rename(&mut self, path: &Path) {
        self.extensions.retain(|(key, _)| key != PATH);
        if self.header.set_path(path).is_err() {
            self.extensions.push((PATH.into(), path.as_os_str().as_bytes().to_vec()));
        }
    }

    fn new(path: &Path, stat: &Stat, latest: Option<i64>) -> Self {
        let mut record = Self::empty(path);
        record.header.set_mode(stat.mode);
        record.header.set_uid(stat.uid.into());
        record.header.set_gid(stat.gid.into());
        let (mut seconds, mut nanos) = (stat.mtime.sec, stat.mtime.nsec);
        if let Some(latest) = latest.filter(|latest| seconds >= *latest) {
            (seconds, nanos) = (latest, 0);
        }
        record.header.set_mtime(u64::try_from(seconds).unwrap_or_default());
        if seconds < 0 || nanos != 0 {
            // Nanoseconds count up from the second before, and decimals down from the one after.
            let time = if seconds < 0 && nanos != 0 {
                format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
            } else {
                format!("{seconds}.{nanos:09}")
            };
            record.extensions.push(("mtime".into(), time.trim_end_matches('0').trim_end_matches('.').into()));
        }
        record
    }

    fn link(&mut self, target: &Path) {
        if self.header.set_link_name_literal(target.as_os_str().as_bytes()).is_err() {
            self.extensions.push(("linkpath".into(), target.as_os_str().as_bytes().to_vec()));
        }
    }

    fn device(&mut self, stat: &Stat) -> Result<()> {
        let doing = || "write its number".to_owned();
        self.header.set_device_major(stat.rdev.0).doing(doing)?;
        self.header.set_device_minor(stat.rdev.1).doing(doing)
    }

    fn extended(&mut self, attributes: &[Attribute]) -> Result<()> {
        for Attribute { name, value } in attributes {
            // That of an overlay inside the one whose changes these are.
            check(name.as_bytes())?;
            let name = name
                .to_str()
                .map_err(|_| Error::new("an attribute", "its name is not UTF-8, as it must be in a layer"))?;
            self.extensions.push((format!("{XATTR}{name}"), value.clone()));
        }
        Ok(())
    }
}
