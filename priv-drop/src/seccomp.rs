//! Seccomp: which system calls the kernel takes from NEXT (seccomp(2), and seccomp_filter of the kernel's
//! documentation).

mod compile;
mod default;
mod oci;
mod profile;
mod strict;
mod syscalls;

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use caps::CapsHashSet;
use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;
use seccompiler::SeccompCmpOp;

use crate::sys;
use profile::{Profile, Rule, errno, int_is};

/// Which system calls NEXT may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// All; there is no filter.
    #[default]
    None,
    /// What container engines leave by default.
    Default,
    /// What a program needs that only computes.
    Strict,
    /// What a profile in the JSON form of the OCI runtime specification says.
    File(PathBuf),
}

/// Far more than any profile has; the largest is some 20 KiB.
const LARGEST: u64 = 1 << 20;

impl Seccomp {
    /// Takes the word as it was typed. A file of the name of a profile is written with ./ in front.
    pub fn parse(word: &OsStr) -> Result<Self, Infallible> {
        Ok(match word.to_str() {
            Some("none") => Self::None,
            Some("default") => Self::Default,
            Some("strict") => Self::Strict,
            _ => Self::File(word.into()),
        })
    }

    /// The word that makes the same.
    pub(crate) fn word(&self) -> OsString {
        match self {
            Self::None => "none".into(),
            Self::Default => "default".into(),
            Self::Strict => "strict".into(),
            Self::File(path) => path.into(),
        }
    }

    /// Reads the profile, and checks it as far as that can be done before it is known which capabilities
    /// are kept. `None` if there is to be no filter. Where rules say which files may be executed, the profiles that
    /// are our own let nobody make one in memory that could be, which the rules do not see.
    pub(crate) fn load(&self, has_rules_for_files: bool) -> Result<Option<Filter>> {
        let mut profile = match self {
            Self::None => return Ok(None),
            Self::Default => default::profile(),
            Self::Strict => strict::profile(),
            Self::File(path) => return of_file(path).map(Some),
        };
        if has_rules_for_files {
            profile.rules.insert(0, in_memory_to_be_executed());
        }
        Ok(Some(Filter(profile)))
    }
}

/// memfd_create(2) without MFD_NOEXEC_SEAL of <linux/memfd.h> (Linux 6.3).
fn in_memory_to_be_executed() -> Rule {
    const NOEXEC_SEAL: u64 = 8;
    let args = vec![int_is(1, SeccompCmpOp::MaskedEq(NOEXEC_SEAL), 0)];
    Rule { args, ..Rule::new(&["memfd_create"], errno(libc::EACCES)) }
}

fn of_file(path: &Path) -> Result<Filter> {
    let doing = || format!("seccomp profile {}", path.display());
    let mut text = String::new();
    let file = File::open(path)
        .doing(doing)
        .remedy(Errno::ENOENT, "write default, strict, none or the path of a file")?;
    file.take(LARGEST + 1).read_to_string(&mut text).doing(doing)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new(doing(), "larger than 1 MiB"));
    }
    let profile = oci::read(&text).map_err(|error| error.within(&doing()))?;
    for kept in [CapsHashSet::new(), caps::all()] {
        compile::program(&profile, &kept)?;
    }
    Ok(Filter(profile))
}

/// What is left to be done when it is known what NEXT keeps.
#[derive(Debug)]
pub(crate) struct Filter(Profile);

impl Filter {
    /// Puts it on this process, for good; with `log`, what it refuses is in the kernel's log.
    pub(crate) fn install(&self, kept: &CapsHashSet, log: bool) -> Result<()> {
        let program = compile::program(&self.0, kept)?;
        sys::install_filter(&program, log)
            .doing(|| "install the seccomp filter".into())
            .remedy(Errno::EINVAL, "the kernel was built without CONFIG_SECCOMP_FILTER")
    }
}
