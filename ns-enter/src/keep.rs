//! Keeping a namespace on a file, so that it outlives its processes (namespaces(7), "Namespace
//! lifetime"), as ip-netns(8) does in /run/netns.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Remedy, Result,
    mount::{attach, copy_tree, open_dir},
};
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    mount::{MntFlags, umount2},
    sys::stat::{Mode, SFlag, fstat},
    unistd::{Pid, UnlinkatFlags, unlinkat},
};

use crate::{kind::Kind, nsfs};

/// A new namespace that is kept, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The kind.
    pub kind: Kind,
    /// The file; it is made if it is missing.
    pub file: PathBuf,
}

impl Keep {
    /// Parses `KIND=FILE`.
    pub(crate) fn parse(word: &OsStr) -> Result<Self> {
        let bytes = word.as_bytes();
        let bad = || {
            Error::new(format!("--keep {}", word.display()), "not of the form KIND=FILE")
                .hint("write such as net=/run/netns/lab")
        };
        let at = bytes.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let kind = String::from_utf8_lossy(&bytes[..at]).parse()?;
        match &bytes[at + 1..] {
            [] => Err(bad()),
            file if file.contains(&b',') => Err(Error::new(
                format!("--keep {}", word.display()),
                "KIND@FILE could not name it: it holds a comma",
            )),
            file => Ok(Self { kind, file: OsStr::from_bytes(file).into() }),
        }
    }

    /// The text that [`Keep::parse`] makes this of.
    pub(crate) fn word(&self) -> OsString {
        let mut word = OsString::from(format!("{}=", self.kind));
        word.push(&self.file);
        word
    }

    /// Fails if a namespace is on the file already: it would be hidden, not replaced.
    pub(crate) fn check(&self) -> Result<()> {
        if nsfs::is_on(&self.file) { Err(self.taken()) } else { Ok(()) }
    }

    fn taken(&self) -> Error {
        Error::new(self.doing(), "a namespace is kept there already").hint("end it with umount(8)")
    }

    /// Binds the namespace of `child` to the file. Undone by [`Kept::undo`].
    pub(crate) fn bind(&self, child: Pid) -> Result<Kept> {
        let mut kept = Kept {
            place: Place::open(&self.file)
                .doing(|| self.doing())
                .remedy(Errno::ENOENT, "its directory must be there; make it with mkdir -p")?,
            made: false,
            bound: false,
        };
        match self.bind_on(&mut kept, child) {
            Ok(()) => Ok(kept),
            Err(error) => {
                kept.undo()?;
                Err(error)
            }
        }
    }

    fn bind_on(&self, kept: &mut Kept, child: Pid) -> Result<()> {
        kept.made = kept.place.make_file().doing(|| self.doing())?;
        let file = kept.place.file().doing(|| self.doing())?;
        if SFlag::from_bits_truncate(fstat(&file).doing(|| self.doing())?.st_mode) & SFlag::S_IFMT
            == SFlag::S_IFLNK
        {
            return Err(Error::new(self.doing(), "it is a symbolic link").hint("name the file itself"));
        }
        if nsfs::is_one(&file) {
            return Err(self.taken());
        }
        copy_tree(&self.kind.file(child), false)
            .and_then(|namespace| attach(namespace, file, &self.file))
            .remedy(Errno::EINVAL, self.why_invalid())
            .map_err(|error| error.within(&self.doing()))?;
        kept.bound = true;
        Ok(())
    }

    fn doing(&self) -> String {
        format!("keep the {} namespace on {}", self.kind, self.file.display())
    }

    fn why_invalid(&self) -> &'static str {
        match self.kind {
            Kind::Mnt => "a mount namespace can be kept only where mounts are private: mount --make-private",
            _ => "the file must be a file, not a directory",
        }
    }
}

/// A name in a directory that is open: what others make of the path meanwhile does not matter.
#[derive(Debug)]
struct Place {
    dir: OwnedFd,
    name: OsString,
}

impl Place {
    fn open(file: &Path) -> io::Result<Self> {
        let name = file.file_name().ok_or(Errno::EISDIR)?.to_owned();
        let above = file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { dir: open_dir(above)?, name })
    }

    /// Whether it was missing, and was made.
    fn make_file(&self) -> nix::Result<bool> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        match openat(&self.dir, self.name.as_os_str(), flags, Mode::from_bits_truncate(0o444)) {
            Ok(_) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// The file, or the link itself if it is one.
    fn file(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.dir, self.name.as_os_str(), flags, Mode::empty())
    }

    fn umount(&self) -> nix::Result<()> {
        let path = Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(&self.name);
        umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
    }
}

/// A namespace that was bound to a file.
#[derive(Debug)]
pub(crate) struct Kept {
    place: Place,
    made: bool,
    bound: bool,
}

impl Kept {
    /// For a launch that failed: as it was before.
    pub(crate) fn undo(&self) -> Result<()> {
        let doing = || format!("undo what was kept on {}", self.place.name.display());
        if self.bound {
            self.place.umount().doing(doing)?;
        }
        if self.made {
            unlinkat(&self.place.dir, self.place.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
                .doing(doing)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        for word in ["", "net", "net=", "=/file", "foo=/file", "net@/file", "net=a,b"] {
            assert!(Keep::parse(OsStr::new(word)).is_err(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(kind in 0..Kind::ALL.len(), file in "[^\\x00,]{1,20}") {
            let keep = Keep { kind: Kind::ALL[kind], file: file.into() };
            prop_assert_eq!(Keep::parse(&keep.word()), Ok(keep));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Keep::parse(OsStr::from_bytes(&bytes));
        }
    }
}
