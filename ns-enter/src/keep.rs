//! Keeping a namespace on a file, so that it outlives its processes (namespaces(7), "Namespace
//! lifetime"), as ip-netns(8) does in /run/netns.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::PathBuf,
};

use chain::{
    Doing, Error, Remedy, Result,
    mount::{attach, copy_tree, open_place},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    unistd::Pid,
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
        if nsfs::is_on(&self.file) {
            let error = Error::new(self.doing(), "a namespace is kept there already");
            return Err(error.hint(format!("end it with umount {}", self.file.display())));
        }
        Ok(())
    }

    /// Binds the namespace of `child` to the file. Undone by [`Kept::undo`].
    pub(crate) fn bind(&self, child: Pid) -> Result<Kept> {
        let made = self.make_file()?;
        let bound = copy_tree(&self.kind.file(child), false)
            .and_then(|namespace| {
                let place = open_place(&self.file).doing(|| self.doing())?;
                attach(namespace, place, &self.file)
            })
            .remedy(Errno::EINVAL, self.why_invalid())
            .map_err(|error| error.within(&self.doing()));
        match bound {
            Ok(()) => Ok(Kept { file: self.file.clone(), made, bound: true }),
            Err(error) => {
                Kept { file: self.file.clone(), made, bound: false }.undo()?;
                Err(error)
            }
        }
    }

    /// Whether it was missing, and was made.
    fn make_file(&self) -> Result<bool> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&self.file);
        match made {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error)
                .doing(|| self.doing())
                .remedy(Errno::ENOENT, "its directory must be there; make it with mkdir -p"),
        }
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

/// A namespace that was bound to a file.
#[derive(Debug)]
pub(crate) struct Kept {
    file: PathBuf,
    made: bool,
    bound: bool,
}

impl Kept {
    /// For a launch that failed: as it was before.
    pub(crate) fn undo(&self) -> Result<()> {
        let doing = || format!("undo what was kept on {}", self.file.display());
        if self.bound {
            umount2(&self.file, MntFlags::MNT_DETACH).doing(doing)?;
        }
        if self.made { fs::remove_file(&self.file).doing(doing) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        for word in ["", "net", "net=", "=/file", "foo=/file", "net@/file"] {
            assert!(Keep::parse(OsStr::new(word)).is_err(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(kind in 0..Kind::ALL.len(), file in "[^\\x00]{1,20}") {
            let keep = Keep { kind: Kind::ALL[kind], file: file.into() };
            prop_assert_eq!(Keep::parse(&keep.word()), Ok(keep));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Keep::parse(OsStr::from_bytes(&bytes));
        }
    }
}
