//! What the command line says: the layers, where changes go, and the place to mount on.

use std::{ffi::OsString, fmt, path::PathBuf};

use chain::{Error, IdMap, Job, Operands, Options, Result, Tool};
use clap::Parser;

use crate::{
    OvlMount, Whole,
    memory::MemorySize,
    options::{MountOptions, Pair},
};

/// Mount directories on top of each other, for a command or for all
#[derive(Debug, Parser)]
#[command(
    name = "ovl-mount",
    version,
    override_usage = "ovl-mount [OPTIONS] -l LOWER... [-u UPPER [-w WORK] | --tmp[=SIZE]] TARGET [--] NEXT [ARG...]
       ovl-mount [OPTIONS] -l LOWER... [-u UPPER [-w WORK] | --tmp[=SIZE]] TARGET
       ovl-mount [OPTIONS] --whole {-u UPPER | --tmp[=SIZE]} [--] NEXT [ARG...]"
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
    #[command(flatten)]
    mount: MountOptions,
    /// The place, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct LayerArgs {
    /// A directory, or an image of squashfs or erofs, to show; may be repeated, the highest first
    #[arg(short, long, value_name = "LOWER")]
    lower: Vec<PathBuf>,
    /// Show the whole tree of the host, each mount with a layer of its own for changes, below UPPER
    #[arg(long, conflicts_with_all = ["lower", "work"])]
    whole: bool,
    /// Let fuse-overlayfs make the overlay, not the kernel
    #[arg(long, conflicts_with = "whole")]
    fuse: bool,
    /// The directory that changes go to
    #[arg(short, long, value_name = "UPPER")]
    upper: Option<PathBuf>,
    /// An empty directory on UPPER's filesystem for the kernel's use [default: UPPER.work]
    #[arg(short, long, value_name = "WORK", requires = "upper")]
    work: Option<PathBuf>,
    /// Show owners as others, INSIDE-OUTSIDE-COUNT[+...], to whom changes belong
    #[arg(long, value_name = "MAP", conflicts_with_all = ["whole", "fuse"])]
    idmap: Option<IdMap>,
    /// Changes go to memory, at most SIZE of it (64M, 25%), and away with the mount
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = MemorySize::USUAL, conflicts_with = "upper")]
    tmp: Option<MemorySize>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let changes = match (self.layers.upper, self.layers.tmp) {
            (Some(upper), _) => Changes::Upper { upper, work: self.layers.work },
            (None, Some(size)) => Changes::Tmp { size },
            (None, None) => Changes::ReadOnly,
        };
        if self.layers.whole {
            let next = Operands::split(self.words, |_, _| false)?.next;
            if changes == Changes::ReadOnly {
                return Err(
                    Error::new("--whole", "no place for changes").hint("add --tmp, or -u DIR to keep them")
                );
            }
            let link = Whole::new(changes, self.mount);
            return Ok(Job::Launch { links: vec![Box::new(link)], next, options: self.options });
        }
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(target) = operands.settings.into_iter().next() else {
            return Err(Error::new("no place to mount on", "").hint("name a directory, such as /mnt"));
        };
        if self.layers.lower.is_empty() {
            return Err(Error::new("no lower layer", "").hint("name one with -l"));
        }
        if self.layers.fuse && operands.next.is_empty() && matches!(changes, Changes::Tmp { .. }) {
            return Err(Error::new("--fuse --tmp", "changes in memory are for a command, which is missing"));
        }
        let layers =
            Layers { lower: self.layers.lower, changes, options: self.mount, owners: self.layers.idmap };
        let link = OvlMount::new(layers, target.into()).by_fuse(self.layers.fuse);
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
    Tmp {
        /// The most that they may take.
        size: MemorySize,
    },
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
    /// At least one directory or image, the highest first.
    pub lower: Vec<PathBuf>,
    /// Where changes go.
    pub changes: Changes,
    /// How the overlay works.
    pub options: MountOptions,
    /// As whom owners are shown; for root only, and not by fuse-overlayfs.
    pub owners: Option<IdMap>,
}

impl Layers {
    /// The options that make the lone tool do the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        for lower in &self.lower {
            words.extend(["-l".into(), lower.into()]);
        }
        words.extend(self.changes.words());
        words.extend(self.options.words());
        words.extend(self.owners.iter().map(|map| format!("--idmap={map}").into()));
        words
    }
}

impl Changes {
    /// The options that make the lone tool do the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        match self {
            Changes::ReadOnly => {}
            Changes::Tmp { size } if size.is_usual() => words.push("--tmp".into()),
            Changes::Tmp { size } => words.push(format!("--tmp={size}").into()),
            Changes::Upper { upper, work } => {
                words.extend(["-u".into(), upper.into()]);
                words.extend(work.iter().flat_map(|work| ["-w".into(), work.into()]));
            }
        }
        words
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("read-only"),
            Self::Tmp { size } if size.is_usual() => f.write_str("changes in memory"),
            Self::Tmp { size } => write!(f, "changes in memory, at most {size}"),
            Self::Upper { upper, .. } => write!(f, "changes in {}", upper.display()),
        }
    }
}

/// The options that the kernel gets here.
pub(crate) fn options_here(options: &MountOptions, changes: &Changes) -> Vec<Pair> {
    let mut options = options.clone();
    if matches!(changes, Changes::Tmp { .. }) {
        options = options.made_volatile();
    }
    if chain::in_user_namespace() {
        options = options.made_for_user_namespace();
    }
    options.pairs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::any_options;
    use chain::{Link, Size};
    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = PathBuf> {
        "[^\\x00-][^\\x00]{0,12}".prop_map(PathBuf::from)
    }

    fn changes() -> impl Strategy<Value = Changes> {
        prop_oneof![
            Just(Changes::ReadOnly),
            (1_u64..).prop_map(|bytes| Changes::Tmp { size: MemorySize::Bytes(Size(bytes)) }),
            (1_u8..=100).prop_map(|part| Changes::Tmp { size: MemorySize::Part(part) }),
            (path(), proptest::option::of(path())).prop_map(|(upper, work)| Changes::Upper { upper, work }),
        ]
    }

    proptest! {
        #[test]
        fn a_links_words_make_the_same_link(
            lower in proptest::collection::vec(path(), 1..4), changes in changes(),
            options in any_options(), target in path(), fuse: bool, mapped: bool,
        ) {
            let owners = (mapped && !fuse).then(|| IdMap(vec![[0, 100_000, 65536], [70_000, 5, 1]]));
            let link = OvlMount::new(Layers { lower, changes, options, owners }, target).by_fuse(fuse);
            let words = [OsString::from("ovl-mount")].into_iter().chain(link.words());
            let words = words.chain(["--".into(), "sh".into()]);
            let job = Args::try_parse_from(words).expect("parses").job();
            let Ok(Job::Launch { links, .. }) = job else { panic!("not a launch") };
            prop_assert_eq!(links[0].words(), link.words());
        }
    }
}
