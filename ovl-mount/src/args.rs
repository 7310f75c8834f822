//! What the command line says: the layers, where changes go, and the place to mount on.

use std::{ffi::OsString, path::PathBuf};

use chain::{Error, Job, Operands, Options, Result, Tool};
use clap::Parser;

use crate::OvlMount;

/// Mount directories on top of each other, for a command or for all
#[derive(Debug, Parser)]
#[command(
    name = "ovl-mount",
    version,
    override_usage = "ovl-mount [OPTIONS] -l LOWER... [-u UPPER [-w WORK] | --tmp] TARGET [--] NEXT [ARG...]
       ovl-mount [OPTIONS] -l LOWER... [-u UPPER [-w WORK] | --tmp] TARGET"
)]
#[command(after_help = "\
With NEXT the mount is seen by NEXT alone; without, by all, until umount(8).
With neither -u nor --tmp it is read-only.
Example: ovl-mount -l base --tmp /mnt -- ls /mnt")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    layers: LayerArgs,
    /// The place, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct LayerArgs {
    /// A directory to show; may be repeated, the highest first
    #[arg(short, long, value_name = "LOWER")]
    lower: Vec<PathBuf>,
    /// The directory that changes go to
    #[arg(short, long, value_name = "UPPER")]
    upper: Option<PathBuf>,
    /// An empty directory on UPPER's filesystem for the kernel's use [default: UPPER.work]
    #[arg(short, long, value_name = "WORK", requires = "upper")]
    work: Option<PathBuf>,
    /// Changes go to memory, and away with the mount
    #[arg(long, conflicts_with = "upper")]
    tmp: bool,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(target) = operands.settings.into_iter().next() else {
            return Err(Error::new("no place to mount on", "").hint("name a directory, such as /mnt"));
        };
        if self.layers.lower.is_empty() {
            return Err(Error::new("no lower layer", "").hint("name one with -l"));
        }
        let changes = match (self.layers.upper, self.layers.tmp) {
            (Some(upper), _) => Changes::Upper { upper, work: self.layers.work },
            (None, true) => Changes::Tmp,
            (None, false) => Changes::ReadOnly,
        };
        let link = OvlMount::new(Layers { lower: self.layers.lower, changes }, target.into());
        if operands.next.is_empty() {
            return Ok(Job::Do(Box::new(move || link.mount_for_all(self.options.dry_run))));
        }
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}

/// Where changes in the mounted tree go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Nowhere: it cannot be changed.
    ReadOnly,
    /// To memory, until the mount goes.
    Tmp,
    /// To a directory that stays.
    Upper {
        /// The directory.
        upper: PathBuf,
        /// The kernel's work directory; by default the sibling `UPPER.work`.
        work: Option<PathBuf>,
    },
}

/// What is shown: directories on top of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// At least one directory, the highest first.
    pub lower: Vec<PathBuf>,
    /// Where changes go.
    pub changes: Changes,
}

impl Layers {
    /// The options that make the lone tool do the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        for lower in &self.lower {
            words.extend(["-l".into(), lower.into()]);
        }
        match &self.changes {
            Changes::ReadOnly => {}
            Changes::Tmp => words.push("--tmp".into()),
            Changes::Upper { upper, work } => {
                words.extend(["-u".into(), upper.into()]);
                words.extend(work.iter().flat_map(|work| ["-w".into(), work.into()]));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Link;
    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = PathBuf> {
        "[^\\x00-][^\\x00]{0,12}".prop_map(PathBuf::from)
    }

    fn changes() -> impl Strategy<Value = Changes> {
        prop_oneof![
            Just(Changes::ReadOnly),
            Just(Changes::Tmp),
            (path(), proptest::option::of(path())).prop_map(|(upper, work)| Changes::Upper { upper, work }),
        ]
    }

    proptest! {
        #[test]
        fn a_links_words_make_the_same_link(
            lower in proptest::collection::vec(path(), 1..4), changes in changes(), target in path(),
        ) {
            let link = OvlMount::new(Layers { lower, changes }, target);
            let words = [OsString::from("ovl-mount")].into_iter().chain(link.words());
            let words = words.chain(["--".into(), "sh".into()]);
            let job = Args::try_parse_from(words).expect("parses").job();
            let Ok(Job::Launch { links, .. }) = job else { panic!("not a launch") };
            prop_assert_eq!(links[0].words(), link.words());
        }
    }
}
