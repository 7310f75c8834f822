//! What the command line says: the new root, and what is put into it.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use chain::{Error, Job, Operands, Options, Result, Tool};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, Parser, value_parser};

use crate::RootEnter;

/// Make a directory the root, for a command
#[derive(Debug, Parser)]
#[command(name = "root-enter", version, override_usage = "root-enter [OPTIONS] DIR [--] NEXT [ARG...]")]
#[command(after_help = "\
DIR gets a new /proc and a minimal /dev; what was mounted outside is gone.
In SRC and DST a colon is written \\: and a backslash \\\\.
Example: root-enter --bind data:/var/lib/data rootfs -- sh")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    binds: Binds,
    /// Show the command's own cgroups at /sys/fs/cgroup, read-only
    #[arg(long)]
    cgroup: bool,
    /// The new root, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(root) = operands.settings.into_iter().next() else {
            return Err(Error::new("no root", "").hint("name the directory that becomes /"));
        };
        let link = RootEnter::new(root.into(), self.binds).with_cgroup(self.cgroup);
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}

/// A file or directory of the host that is seen in the new root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The path on the host.
    pub from: PathBuf,
    /// The absolute path in the new root; not the root itself.
    pub to: PathBuf,
    /// It cannot be changed through the new root, nor can what is mounted below it.
    pub read_only: bool,
}

impl Bind {
    const WRITABLE: &'static str = "bind";
    const READ_ONLY: &'static str = "ro-bind";

    /// Parses `SRC:DST`, where a backslash takes the meaning from a colon or a backslash.
    pub fn parse(word: &OsStr, read_only: bool) -> Result<Self> {
        let bad = |why: &str, hint: &str| Err(Error::new(format!("bind {}", word.display()), why).hint(hint));
        let Some(parts) = split(word.as_bytes()) else {
            return bad(
                "a backslash before neither a colon nor a backslash",
                "a backslash in a path is written \\\\",
            );
        };
        let [from, to] = parts.as_slice() else {
            if let [_, _, third] = parts.as_slice()
                && third == Path::new("ro")
            {
                return bad("not of the form SRC:DST", "read-only is --ro-bind SRC:DST");
            }
            return bad("not of the form SRC:DST", "a colon in a path is written \\:");
        };
        if from.as_os_str().is_empty() {
            return bad("nothing to bind", "write SRC:DST");
        }
        if !to.is_absolute() || to.components().count() < 2 {
            return bad("no place in the new root", "write DST as an absolute path below /");
        }
        if to.components().any(|part| part == Component::ParentDir) {
            return bad(".. in the place", "write DST without it");
        }
        Ok(Self { from: from.clone(), to: to.clone(), read_only })
    }

    /// The words that make the lone tool do the same.
    fn words(&self) -> [OsString; 2] {
        let option = if self.read_only { Self::READ_ONLY } else { Self::WRITABLE };
        let mut value = escape(&self.from);
        value.push(b':');
        value.extend(escape(&self.to));
        [format!("--{option}").into(), OsString::from_vec(value)]
    }
}

/// Splits at the colons that no backslash stands before, and takes the backslashes away. `None`
/// if one stands before anything else.
fn split(word: &[u8]) -> Option<Vec<PathBuf>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = word.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => parts.push(Vec::new()),
            b'\\' => {
                let byte = bytes.next().filter(|byte| b":\\".contains(byte))?;
                parts.last_mut()?.push(byte);
            }
            _ => parts.last_mut()?.push(byte),
        }
    }
    Some(parts.into_iter().map(|part| OsString::from_vec(part).into()).collect())
}

fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

/// The options that put something into the new root, in the order in which they were typed: a
/// later one may lie in an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binds(pub Vec<Bind>);

impl Binds {
    /// The words that make the lone tool do the same.
    pub fn words(&self) -> Vec<OsString> {
        self.0.iter().flat_map(Bind::words).collect()
    }
}

impl clap::Args for Binds {
    fn augment_args(command: Command) -> Command {
        let option = |name: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("SRC:DST")
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString))
        };
        command
            .arg(option(Bind::WRITABLE).help("Show the host's SRC at DST in the new root; may be repeated"))
            .arg(option(Bind::READ_ONLY).help("The same, but read-only, all the way down"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Binds {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut binds = Vec::new();
        for (name, read_only) in [(Bind::WRITABLE, false), (Bind::READ_ONLY, true)] {
            let places = matches.indices_of(name).into_iter().flatten();
            let words = matches.get_many::<OsString>(name).into_iter().flatten();
            for (place, word) in places.zip(words) {
                let bind = Bind::parse(word, read_only).map_err(|error| {
                    clap::Error::raw(clap::error::ErrorKind::ValueValidation, error.to_string())
                })?;
                binds.push((place, bind));
            }
        }
        binds.sort_by_key(|(place, _)| *place);
        Ok(Self(binds.into_iter().map(|(_, bind)| bind).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Link;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Bind> {
        Bind::parse(OsStr::new(text), false)
    }

    #[test]
    fn a_colon_in_a_path_is_escaped() {
        let bind = parse(r"/a\:b\\:/c:").map(|bind| bind.to);
        assert!(bind.is_err(), "three parts");
        let bind = parse(r"/a\:b\\:/c\:").expect("two parts");
        assert_eq!((bind.from, bind.to), (r"/a:b\".into(), "/c:".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in
            ["", ":", "a", "a:", ":/b", "a:b", "a:/", "a:/b:c", "a://", r"a\b:/c", r"a:/c\", "a:/b/../c"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    fn bind() -> impl Strategy<Value = Bind> {
        ("[^\\x00]{1,12}", "/[^\\x00/.][^\\x00]{0,12}", any::<bool>())
            .prop_filter("..", |(_, to, _)| {
                Path::new(to).components().all(|part| part != Component::ParentDir)
            })
            .prop_map(|(from, to, read_only)| Bind { from: from.into(), to: to.into(), read_only })
    }

    proptest! {
        #[test]
        fn a_links_words_make_the_same_link(
            root in "[^\\x00-][^\\x00]{0,12}", binds in proptest::collection::vec(bind(), 0..5),
            cgroup: bool,
        ) {
            let link = RootEnter::new(root.into(), Binds(binds)).with_cgroup(cgroup);
            let words = [OsString::from("root-enter")].into_iter().chain(link.words());
            let words = words.chain(["--".into(), "sh".into()]);
            let job = Args::try_parse_from(words).expect("parses").job();
            let Ok(Job::Launch { links, .. }) = job else { panic!("not a launch") };
            prop_assert_eq!(links[0].words(), link.words());
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Bind::parse(OsStr::from_bytes(&bytes), true);
        }
    }
}
