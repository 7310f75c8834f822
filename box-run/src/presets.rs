//! Lists of options for what boxes are often made for.

use std::{env, fs, path::Path};

use chain::{Doing, Error, Result};
use priv_drop::Rlimit;
use rustix::process::getpriority_process;

use crate::{
    links::PIDS,
    modes::{Modes, is_of_system},
    secrets::all_homes,
};

/// What lets the working directory be written, which the user has not named.
const RW: &str = "--rw=.";

/// The network of the caller, if no other is said.
pub(crate) const ALLOW_NET: &str = "--allow-net";

/// A kind of box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// A program that somebody handed in, run on an input.
    Grader,
    /// A build in the working directory.
    Build,
    /// A server.
    Service,
    /// The commands of an assistant.
    Agent,
}

impl Preset {
    /// Its name, as it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grader => "grader",
            Self::Build => "build",
            Self::Service => "service",
            Self::Agent => "agent",
        }
    }

    /// Processes and threads at once where nothing else is said. Not one of the options: it is kept without a group
    /// too, as the usual number is.
    pub(crate) fn pids(self) -> &'static str {
        match self {
            Self::Grader => "64",
            Self::Build => "4096",
            Self::Service => PIDS,
            Self::Agent => "512",
        }
    }

    /// The options that it stands for.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let text = match self {
            Self::Grader => {
                "--mem=256M --cpu=1 --timeout=10s --rlimit=fsize=64M --rlimit=nofile=64 --caps=none --new-session --env-clear"
            }
            Self::Build => "--rw=. --nice=5",
            Self::Service => "--allow-net --net-files --caps=net_bind_service --oom=100",
            Self::Agent => "--rw=. --rlimit=fsize=4G --rlimit=nofile=1024 --nice=5 --new-session",
        };
        text.split(' ').collect()
    }

    /// Those in this working directory, where these modes were said besides.
    pub(crate) fn words_here(self, said: &Modes) -> Result<Vec<&'static str>> {
        let mut words = self.words();
        words.retain(|word| !gives_more_than_the_caller_has(word));
        if !words.contains(&RW) {
            return Ok(words);
        }
        let dir = env::current_dir().doing(|| "working directory".into())?;
        if let Some(what) = more_than_a_project(&dir) {
            // Who has said what may be written has not meant all of this.
            if said.has_rw() {
                words.retain(|word| *word != RW);
                return Ok(words);
            }
            let why = format!("it would let all of {} be written, {what}", dir.display());
            return Err(Error::new(format!("--preset {}", self.name()), why)
                .hint("change to a project's directory, or name it: --rw DIR"));
        }
        if self == Self::Agent {
            words.extend(of_git(&dir, said));
        }
        Ok(words)
    }
}

/// Whether a word would raise the priority or a limit, or lower how soon the process is killed: who has called a box
/// with less has meant that, and only root may.
fn gives_more_than_the_caller_has(word: &str) -> bool {
    if let Some(limit) = word.strip_prefix("--rlimit=") {
        return limit.parse::<Rlimit>().is_ok_and(|limit| limit.is_above_own());
    }
    let value = |option: &str| word.strip_prefix(option)?.parse::<i32>().ok();
    let (nice, oom) = (value("--nice="), value("--oom="));
    let has_more_oom = |own: i32| oom.is_some_and(|oom| oom < own);
    nice.is_some_and(|nice| getpriority_process(None).is_ok_and(|own| nice < own))
        || oom.is_some()
            && fs::read_to_string("/proc/self/oom_score_adj")
                .is_ok_and(|own| own.trim().parse().is_ok_and(has_more_oom))
}

/// Keeps what git runs, outside and as the user, as it is, unless it is named. A `.git` that is a file has none of it.
fn of_git(dir: &Path, said: &Modes) -> Vec<&'static str> {
    let is_named = |name: &str| said.paths().any(|path| is_same(path, &dir.join(name)));
    let is_plain = |name: &str| fs::symlink_metadata(dir.join(name)).is_ok_and(|found| !found.is_symlink());
    if !dir.join(".git").is_dir() || !is_plain(".git") || is_named(".git") {
        return Vec::new();
    }
    let kept = [(".git/hooks", "--ro=.git/hooks"), (".git/config", "--ro=.git/config")];
    let kept = kept.into_iter().filter(|(name, _)| is_plain(name) && !is_named(name)).map(|(_, word)| word);
    // A mount cannot be renamed, so nothing else comes to its place.
    ["--rw=.git"].into_iter().chain(kept).collect()
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// What a directory is that nobody means to be written by a box.
fn more_than_a_project(dir: &Path) -> Option<&'static str> {
    if is_of_system(dir) {
        return Some("a directory of the system");
    }
    let mut homes = all_homes().filter(|home| home.starts_with(dir)).peekable();
    homes.peek()?;
    Some(if homes.any(|home| home == dir) { "a home directory" } else { "which has home directories in it" })
}
