//! What goes into the new root: one entry an option, as plain data.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::{
        fd::RawFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use chain::{Error, Result, Size, mount::MountAttrFlags};

use crate::{
    bind::{Bind, From},
    colons::{self, NO_MODE, Parts},
};

/// One thing that is put into the new root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file or directory of the host.
    Bind(Bind),
    /// An empty filesystem in memory.
    Tmpfs(Tmpfs),
    /// A new proc of the pid namespace.
    Proc(PathBuf),
    /// The devices and the kernel's settings, read-only.
    Sysfs(PathBuf),
    /// A minimal /dev.
    Dev(PathBuf),
    /// A file with a text.
    File(Text),
    /// A symbolic link.
    Symlink(Symlink),
    /// A directory.
    Dir(Dir),
    /// A file or directory that is hidden under an empty one.
    Mask(PathBuf),
    /// A place that is read-only from then on, with all that is mounted below it.
    RemountRo(PathBuf),
    /// The command's own cgroups.
    Cgroup(PathBuf),
    /// The host's resolv.conf, hosts and hostname, in /etc.
    NetFiles,
}

/// A filesystem in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// The place in the new root.
    pub to: PathBuf,
    /// The most that it takes; half of the memory without it.
    pub size: Option<Size>,
    /// The permissions of its root; 1777 without it.
    pub mode: Option<u32>,
}

/// A file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What is in it.
    pub content: Content,
    /// The place in the new root.
    pub to: PathBuf,
    /// Its permissions; 644 without it.
    pub mode: Option<u32>,
    /// It cannot be written.
    pub read_only: bool,
}

/// Where the text of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The command line.
    Literal(OsString),
    /// What the caller has open; it is read to its end.
    Fd(RawFd),
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symlink {
    /// Where it leads.
    pub target: OsString,
    /// The place in the new root.
    pub link: PathBuf,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir {
    /// The place in the new root.
    pub to: PathBuf,
    /// Its permissions; without it those that it has, or 755 for a new one.
    pub mode: Option<u32>,
}

impl Entry {
    /// Parses the value of the option `name`.
    pub(crate) fn parse(name: &str, word: &OsStr) -> Result<Self> {
        let place = || Parts::of(name, word)?.only_place();
        Ok(match name {
            "ro-bind" => {
                let mut bind = Bind::parse(word)?;
                bind.set |= MountAttrFlags::MOUNT_ATTR_RDONLY;
                Self::Bind(bind)
            }
            "tmpfs" => Self::Tmpfs(Tmpfs::parse(word)?),
            "proc" => Self::Proc(place()?),
            "sysfs" => Self::Sysfs(place()?),
            "dev" => Self::Dev(place()?),
            "file" => Self::File(Text::parse(word)?),
            "symlink" => Self::Symlink(Symlink::parse(word)?),
            "dir" => Self::Dir(Dir::parse(word)?),
            "mask" => Self::Mask(place()?),
            "remount-ro" if word == "/" => {
                return Err(Error::new("remount-ro /", "that is the new root").hint("use --root-ro"));
            }
            "remount-ro" => Self::RemountRo(place()?),
            "cgroup" => Self::Cgroup(place()?),
            _ => Self::Bind(Bind::parse(word)?),
        })
    }

    /// The words that make the lone tool do the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let (name, value) = match self {
            Self::Bind(bind) => (if bind.is_read_only() { "ro-bind" } else { "bind" }, bind.value()),
            Self::Tmpfs(tmpfs) => ("tmpfs", colons::join(&[&colons::escape(&tmpfs.to)], &tmpfs.options())),
            Self::Proc(to) => ("proc", colons::escape(to)),
            Self::Sysfs(to) => ("sysfs", colons::escape(to)),
            Self::Dev(to) => ("dev", colons::escape(to)),
            Self::File(text) => ("file", text.value()),
            Self::Symlink(Symlink { target, link }) => {
                ("symlink", colons::join(&[&colons::escape(target), &colons::escape(link)], &[]))
            }
            Self::Dir(dir) => {
                let mode: Vec<_> = dir.mode.iter().map(|mode| format!("mode={mode:o}")).collect();
                ("dir", colons::join(&[&colons::escape(&dir.to)], &mode))
            }
            Self::Mask(to) => ("mask", colons::escape(to)),
            Self::RemountRo(to) => ("remount-ro", colons::escape(to)),
            // Its value may be left out, so it is in the same word.
            Self::Cgroup(to) if to == Path::new(crate::cgroup::PLACE) => return vec!["--cgroup".into()],
            Self::Cgroup(to) => {
                let value = colons::escape(to).into_vec();
                return vec![OsString::from_vec([b"--cgroup=".to_vec(), value].concat())];
            }
            Self::NetFiles => return vec!["--net-files".into()],
        };
        vec![format!("--{name}").into(), value]
    }
}

impl Entry {
    /// The descriptor of the caller that it is made from.
    pub fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Bind(Bind { from: From::Fd(number), .. })
            | Self::File(Text { content: Content::Fd(number), .. }) => Some(*number),
            _ => None,
        }
    }
}

impl Tmpfs {
    fn parse(word: &OsStr) -> Result<Self> {
        let parts = Parts::of("tmpfs", word)?;
        let (to, options) = place_and_options(&parts)?;
        let mut tmpfs = Self { to, size: None, mode: None };
        for (option, value) in options {
            match (option, value) {
                ("size", Some(size)) => {
                    tmpfs.size = Some(size.parse().map_err(|why: String| parts.bad(&why, ""))?);
                }
                ("mode", Some(text)) => tmpfs.mode = Some(mode(&parts, text)?),
                _ => return Err(parts.no_option(option, "size=SIZE, mode=OCTAL")),
            }
        }
        Ok(tmpfs)
    }

    fn options(&self) -> Vec<String> {
        let size = self.size.iter().map(|size| format!("size={size}"));
        size.chain(self.mode.iter().map(|mode| format!("mode={mode:o}"))).collect()
    }
}

impl Text {
    /// Parses `TEXT:DST[:OPTIONS]` or `@FD:DST[:OPTIONS]`. A text that begins with an at sign has a backslash
    /// in front of it.
    fn parse(word: &OsStr) -> Result<Self> {
        let literal_at = word.as_bytes().strip_prefix(b"\\@");
        let mut parts = Parts::of("file", OsStr::from_bytes(literal_at.unwrap_or(word.as_bytes())))?;
        parts.shown = format!("file {}", word.display());
        let form = |parts: &Parts| {
            parts.bad("not of the form TEXT:DST[:OPTIONS]", "a colon in a text is written \\:")
        };
        let (text, to, options) = match parts.parts.as_slice() {
            [text, to] => (text, to, Vec::new()),
            [text, to, options] => (text, to, parts.options(options)?),
            _ => return Err(form(&parts)),
        };
        let content = match (literal_at, text.as_bytes().strip_prefix(b"@")) {
            (Some(_), _) => Content::Literal([OsStr::new("@"), text].into_iter().collect()),
            (None, Some(number)) => {
                let number = chain::descriptor(&String::from_utf8_lossy(number));
                let hint = "write @N for a descriptor, or \\@ for a text that begins with @";
                Content::Fd(number.map_err(|why| parts.bad(why, hint))?)
            }
            (None, None) => Content::Literal(text.clone()),
        };
        let mut file = Self { content, to: parts.place(to)?, mode: None, read_only: false };
        for (option, value) in options {
            match (option, value) {
                ("mode", Some(text)) => file.mode = Some(mode(&parts, text)?),
                ("ro", None) => file.read_only = true,
                _ => return Err(parts.no_option(option, "mode=OCTAL, ro")),
            }
        }
        Ok(file)
    }

    fn value(&self) -> OsString {
        let text = match &self.content {
            Content::Fd(number) => format!("@{number}").into(),
            Content::Literal(text) => match text.as_bytes().strip_prefix(b"@") {
                Some(rest) => {
                    [OsStr::new("\\@"), &colons::escape(OsStr::from_bytes(rest))].into_iter().collect()
                }
                None => colons::escape(text),
            },
        };
        let mut options: Vec<_> = self.mode.iter().map(|mode| format!("mode={mode:o}")).collect();
        options.extend(self.read_only.then(|| "ro".to_owned()));
        colons::join(&[&text, &colons::escape(&self.to)], &options)
    }
}

impl Symlink {
    fn parse(word: &OsStr) -> Result<Self> {
        let parts = Parts::of("symlink", word)?;
        match parts.parts.as_slice() {
            [target, link] if !target.is_empty() => {
                Ok(Self { target: target.clone(), link: parts.place(link)? })
            }
            [_, _] => Err(parts.bad("it leads nowhere", "write TARGET:LINK")),
            _ => Err(parts.bad("not of the form TARGET:LINK", "a colon in a path is written \\:")),
        }
    }
}

impl Dir {
    fn parse(word: &OsStr) -> Result<Self> {
        let parts = Parts::of("dir", word)?;
        let (to, options) = place_and_options(&parts)?;
        let mut dir = Self { to, mode: None };
        for (option, value) in options {
            match (option, value) {
                ("mode", Some(text)) => dir.mode = Some(mode(&parts, text)?),
                _ => return Err(parts.no_option(option, "mode=OCTAL")),
            }
        }
        Ok(dir)
    }
}

type Options<'a> = Vec<(&'a str, Option<&'a str>)>;

fn place_and_options(parts: &Parts) -> Result<(PathBuf, Options<'_>)> {
    match parts.parts.as_slice() {
        [to] => Ok((parts.place(to)?, Vec::new())),
        [to, options] => Ok((parts.place(to)?, parts.options(options)?)),
        _ => Err(parts.bad("not of the form DST[:OPTIONS]", "a colon in a path is written \\:")),
    }
}

fn mode(parts: &Parts, text: &str) -> Result<u32> {
    colons::mode(text).ok_or_else(|| parts.bad(&format!("mode={text}: {NO_MODE}"), ""))
}

/// Fails if a descriptor is named by two entries: each is used up by one.
pub(crate) fn check_descriptors(entries: &[Entry]) -> Result<()> {
    let named = entries.iter().filter_map(Entry::descriptor);
    let mut seen = BTreeSet::new();
    for number in named {
        if !seen.insert(number) {
            return Err(Error::new(format!("descriptor {number}"), "it is named twice"));
        }
    }
    Ok(())
}
