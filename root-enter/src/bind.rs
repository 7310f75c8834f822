//! `--bind` and `--ro-bind`: a file or directory of the host that is seen in the new root.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::fd::RawFd,
    path::PathBuf,
};

use chain::{IdMap, Result, mount::MountAttrFlags};

use crate::colons::{self, Parts};

/// A file or directory of the host that is seen in the new root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What is seen.
    pub from: From,
    /// The absolute path in the new root; not the root itself.
    pub to: PathBuf,
    /// Attributes that were asked for, such as read-only, besides those that all binds have.
    pub set: MountAttrFlags,
    /// Those that all binds have and this one has not.
    pub clear: MountAttrFlags,
    /// What is mounted below it is seen too.
    pub recursive: bool,
    /// Owners are shown as others.
    pub id_map: Option<Owners>,
}

/// As whom owners are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owners {
    /// By this map.
    Map(IdMap),
    /// As whom they are outside: by the map that the box has, of which box-run knows.
    Box,
}

/// Where a bind comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A path on the host.
    Path(PathBuf),
    /// The same, but a symbolic link in it is an error: who has looked at it has seen none.
    Real(PathBuf),
    /// The same, on which a link in front mounts something: what is not that is an error.
    Mounted(PathBuf),
    /// What the caller has open, as a file, a directory, or as a place only (O_PATH).
    Fd(RawFd),
}

/// The attributes that a bind may get, as they are typed, and those that it may lose.
const GAINS: [(&str, MountAttrFlags); 4] = [
    ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY),
    ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV),
    ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC),
];
const LOSES: [(&str, MountAttrFlags); 2] =
    [("suid", MountAttrFlags::MOUNT_ATTR_NOSUID), ("dev", MountAttrFlags::MOUNT_ATTR_NODEV)];

/// How an id map is written.
const ID_MAP: &str = "write INSIDE-OUTSIDE-COUNT[+...], such as idmap=0-1000-1; box-run takes idmap=box too";
/// That of the box, in its place.
const BOX: &str = "box";

impl Bind {
    /// A bind as it is without options.
    pub fn new(from: From, to: PathBuf) -> Self {
        let nothing = MountAttrFlags::empty();
        Self { from, to, set: nothing, clear: nothing, recursive: true, id_map: None }
    }

    /// Parses `SRC:DST[:OPTIONS]`.
    pub fn parse(word: &OsStr) -> Result<Self> {
        let parts = Parts::of("bind", word)?;
        // A descriptor has a colon of its own, which is none of a path: `fd\:7` is one.
        let (from, rest) = match parts.parts.as_slice() {
            [kind, number, rest @ ..] if kind == "fd" && is_number(number) => {
                let number = chain::descriptor(&number.to_string_lossy());
                let number = number.map_err(|why| parts.bad(why, "write fd:N:DST"))?;
                (From::Fd(number), rest)
            }
            // As a place it would have to be absolute.
            [kind, number, ..] if kind == "fd" && !number.as_encoded_bytes().starts_with(b"/") => {
                let hint = "write fd:N:DST, or ./fd for a file of that name";
                return Err(parts.bad("not the number of a file descriptor", hint));
            }
            [path, rest @ ..] => (From::Path(path.into()), rest),
            [] => (From::Path(PathBuf::new()), &[][..]),
        };
        let (to, options) = match rest {
            [to] => (to, None),
            [to, options] => (to, Some(options)),
            [_, options, ..] if options.as_encoded_bytes().starts_with(b"idmap=") => {
                return Err(parts.bad("not an id map", ID_MAP));
            }
            _ => {
                return Err(
                    parts.bad("not of the form SRC:DST[:OPTIONS]", "a colon in a path is written \\:")
                );
            }
        };
        if from == From::Path(PathBuf::new()) {
            return Err(parts.bad("nothing to bind", "write SRC:DST"));
        }
        let mut bind = Self::new(from, parts.place(to)?);
        for (option, value) in options.map(|options| parts.options(options)).transpose()?.unwrap_or_default()
        {
            bind.take(&parts, option, value)?;
        }
        if bind.set.intersects(bind.clear) {
            return Err(parts.bad("an option and its opposite", "leave one of them out"));
        }
        Ok(bind)
    }

    fn take(&mut self, parts: &Parts, option: &str, value: Option<&str>) -> Result<()> {
        let named = |list: &[(&str, MountAttrFlags)]| {
            list.iter().find(|(name, _)| *name == option).map(|(_, flag)| *flag)
        };
        match (option, value, named(&GAINS), named(&LOSES)) {
            ("rec", None, ..) => self.recursive = true,
            ("norec", None, ..) => self.recursive = false,
            ("idmap", Some(map), ..) => {
                let typed = || map.parse().map_err(|_| parts.bad("not an id map", ID_MAP));
                self.id_map = Some(if map == BOX { Owners::Box } else { Owners::Map(typed()?) });
            }
            (_, None, Some(flag), _) => self.set |= flag,
            (_, None, _, Some(flag)) => self.clear |= flag,
            _ => {
                let those = "ro, nosuid, suid, nodev, dev, noexec, rec, norec, idmap=MAP";
                return Err(parts.no_option(option, those));
            }
        }
        Ok(())
    }

    /// It cannot be changed through the new root.
    pub(crate) fn is_read_only(&self) -> bool {
        self.set.contains(MountAttrFlags::MOUNT_ATTR_RDONLY)
    }

    /// The value that makes the same.
    pub(crate) fn value(&self) -> OsString {
        let from = match &self.from {
            From::Path(path) | From::Real(path) | From::Mounted(path) => colons::escape(path),
            From::Fd(number) => format!("fd:{number}").into(),
        };
        colons::join(&[&from, &colons::escape(&self.to)], &self.options())
    }

    /// Without `ro`, which is an option of its own.
    pub(crate) fn options(&self) -> Vec<String> {
        let gained = GAINS[1..].iter().filter(|(_, flag)| self.set.contains(*flag));
        let lost = LOSES.iter().filter(|(_, flag)| self.clear.contains(*flag));
        let mut options: Vec<_> = gained.chain(lost).map(|(name, _)| (*name).to_owned()).collect();
        options.extend((!self.recursive).then(|| "norec".to_owned()));
        options.extend(self.id_map.as_ref().map(|owners| match owners {
            Owners::Map(map) => format!("idmap={map}"),
            Owners::Box => format!("idmap={BOX}"),
        }));
        options
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Path(path) | Self::Real(path) | Self::Mounted(path) => write!(f, "{}", path.display()),
            Self::Fd(number) => write!(f, "descriptor {number}"),
        }
    }
}

fn is_number(word: &OsStr) -> bool {
    !word.is_empty() && word.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Bind> {
        Bind::parse(OsStr::new(text))
    }

    #[test]
    fn a_colon_in_a_path_is_escaped() {
        assert!(parse(r"/a\:b\\:/c:").is_err(), "an empty option");
        let bind = parse(r"/a\:b\\:/c\:").expect("two parts");
        assert_eq!((bind.from, bind.to), (From::Path(r"/a:b\".into()), "/c:".into()));
    }

    #[test]
    fn a_descriptor_is_told_from_a_path() {
        for (text, from) in [
            ("fd:7:/x", From::Fd(7)),
            ("fd:7:/x:ro", From::Fd(7)),
            ("fd:/x", From::Path("fd".into())),
            ("fd:/x:ro", From::Path("fd".into())),
            (r"fd\:7:/x", From::Path("fd:7".into())),
        ] {
            assert_eq!(parse(text).expect(text).from, from, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            ":",
            "a",
            "a:",
            ":/b",
            "a:b",
            "a:/",
            "a:/b:c",
            "a://",
            r"a\b:/c",
            r"a:/c\",
            "a:/b/../c",
            "fd:7",
            "fd:99999999999:/a",
            "a:/b:",
            "a:/b:ro:",
            "a:/b:ro,",
            "a:/b:ro=1",
            "a:/b:suid,nosuid",
            "a:/b:idmap",
            "a:/b:idmap=",
            "a:/b:idmap=0-1",
            "a:/b:idmap=0-0-0",
            "a:/b:idmap=0-1-2-3",
            "a:/b:idmap=1-1-4294967295",
            "a:/b:idmap=+1-1-1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), map in "[0-9+-]{0,30}") {
            let _ = Bind::parse(OsStr::from_bytes(&bytes));
            let _ = parse(&format!("a:/b:idmap={map}"));
        }
    }
}
