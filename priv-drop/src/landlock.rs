//! Landlock: which files NEXT may use, and which TCP ports (landlock(7)). It needs no privilege, and what
//! is not allowed here is not given by any file mode, capability or user.

mod rules;

use std::{os::fd::OwnedFd, path::Path};

use chain::{Doing, Error, Remedy, Result, note};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

pub use rules::{FileAccess, PortAccess, Rule, Rules};

/// What the kernel learned to restrict one after the other. Rights of kernels later than Linux 6.12 are not
/// used, so that a rule means the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feature {
    Files,
    Refer,
    Truncate,
    Tcp,
    DeviceIoctls,
    Scopes,
}

impl Feature {
    /// What the command could do on a kernel without it, and the first kernel that has it.
    fn lack(self) -> (&'static str, &'static str) {
        match self {
            Self::Files => ("use of files", "5.13"),
            Self::Refer => ("moving files between directories", "5.19"),
            Self::Truncate => ("truncating files", "6.2"),
            Self::Tcp => ("use of TCP ports", "6.7"),
            Self::DeviceIoctls => ("ioctl on devices", "6.10"),
            Self::Scopes => ("signals and abstract sockets to the outside", "6.12"),
        }
    }

    fn restrict(self, ruleset: Ruleset) -> Result<Ruleset, RulesetError> {
        match self {
            Self::Files => ruleset.handle_access(AccessFs::from_all(ABI::V1)),
            Self::Refer => ruleset.handle_access(AccessFs::Refer),
            Self::Truncate => ruleset.handle_access(AccessFs::Truncate),
            Self::DeviceIoctls => ruleset.handle_access(AccessFs::IoctlDev),
            Self::Tcp => ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp),
            Self::Scopes => ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal),
        }
    }

    fn is_there(self) -> bool {
        self.restrict(strict()).is_ok()
    }
}

/// An empty set of rules, to which nothing can be added that the kernel would not enforce.
fn strict() -> Ruleset {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement)
}

/// What is needed to enforce the rules: a kind of thing that no rule is about is not restricted, but what
/// goes to processes outside always is.
fn needed(rules: &[&Rule]) -> Vec<Feature> {
    let mut needed = Vec::new();
    if rules.iter().any(|rule| matches!(rule, Rule::File { .. })) {
        needed.extend([Feature::Files, Feature::Refer, Feature::Truncate, Feature::DeviceIoctls]);
    }
    if rules.iter().any(|rule| matches!(rule, Rule::Port { .. })) {
        needed.push(Feature::Tcp);
    }
    if !rules.is_empty() {
        needed.push(Feature::Scopes);
    }
    needed
}

/// What of it the kernel has. If it lacks anything, that is an error, or with `lenient` a line on stderr.
fn available(
    needed: Vec<Feature>,
    lenient: bool,
    is_there: impl Fn(Feature) -> bool,
    say: impl FnOnce(&str),
) -> Result<Vec<Feature>> {
    let (there, lacking): (Vec<_>, Vec<_>) = needed.into_iter().partition(|feature| is_there(*feature));
    let (whats, versions): (Vec<_>, Vec<_>) = lacking.iter().map(|feature| feature.lack()).unzip();
    let Some(version) = versions.last() else { return Ok(there) };
    let whats = whats.join(", ");
    if !lenient {
        return Err(Error::new("landlock", format!("the kernel cannot restrict {whats}")).hint(format!(
            "Linux {version} with CONFIG_SECURITY_LANDLOCK and lsm=landlock can; or --try-landlock"
        )));
    }
    say(&format!("landlock: the kernel cannot restrict {whats}; the command is not kept from it"));
    Ok(there)
}

/// What will be restricted, on this kernel.
#[derive(Debug)]
pub(crate) struct Restriction {
    features: Vec<Feature>,
}

/// Looks what the kernel can do for the rules. `None` if there are none, or if it can do nothing and
/// that is allowed.
pub(crate) fn prepare(rules: &[Rules], lenient: bool) -> Result<Option<Restriction>> {
    let rules: Vec<_> = rules.iter().flat_map(|rules| &rules.0).collect();
    let features = available(needed(&rules), lenient, Feature::is_there, |text| note("priv-drop", text))?;
    Ok((!features.is_empty()).then_some(Restriction { features }))
}

impl Restriction {
    /// Opens what the rules name, in the root as it is now.
    pub(crate) fn open(&self, rules: &[Rules]) -> Result<Opened> {
        let started = self.features.iter().try_fold(strict(), |ruleset, feature| feature.restrict(ruleset));
        let mut ruleset = started.and_then(Ruleset::create).map_err(|error| failed(&error))?;
        for rule in rules.iter().flat_map(|rules| &rules.0) {
            ruleset = self.add(ruleset, rule)?;
        }
        Ok(Opened(ruleset))
    }

    fn add(&self, ruleset: RulesetCreated, rule: &Rule) -> Result<RulesetCreated> {
        let added = match rule {
            Rule::File { access, path } => {
                let place = open(path, rule)?;
                let rights = rights(*access) & self.known();
                let is_dir =
                    FileType::from_raw_mode(fstat(&place).doing(|| rule.to_string())?.st_mode).is_dir();
                let rights = if is_dir { rights } else { rights & AccessFs::from_file(ABI::V6) };
                if rights.is_empty() {
                    return Ok(ruleset);
                }
                ruleset.add_rule(PathBeneath::new(place, rights))
            }
            Rule::Port { access, port } => {
                if !self.features.contains(&Feature::Tcp) {
                    return Ok(ruleset);
                }
                let right = match access {
                    PortAccess::Connect => AccessNet::ConnectTcp,
                    PortAccess::Bind => AccessNet::BindTcp,
                };
                ruleset.add_rule(NetPort::new(*port, right))
            }
        };
        added.map_err(|error| failed(&error))
    }

    /// The rights to files that this kernel restricts; others cannot be given.
    fn known(&self) -> BitFlags<AccessFs> {
        let rights = |feature: &Feature| match feature {
            Feature::Files => AccessFs::from_all(ABI::V1),
            Feature::Refer => AccessFs::Refer.into(),
            Feature::Truncate => AccessFs::Truncate.into(),
            Feature::DeviceIoctls => AccessFs::IoctlDev.into(),
            Feature::Tcp | Feature::Scopes => BitFlags::EMPTY,
        };
        self.features.iter().map(rights).fold(BitFlags::EMPTY, |all, some| all | some)
    }
}

/// What may be done with the files of a rule. Devices cannot be made: that takes a capability, and whoever
/// keeps it would otherwise have the disk.
fn rights(access: FileAccess) -> BitFlags<AccessFs> {
    let exec = AccessFs::ReadFile | AccessFs::Execute;
    match access {
        FileAccess::Exec => exec,
        FileAccess::ReadOnly => exec | AccessFs::ReadDir,
        FileAccess::ReadWrite => AccessFs::from_all(ABI::V6) & !(AccessFs::MakeChar | AccessFs::MakeBlock),
    }
}

/// The place itself, not what a link of /proc says that this process has open.
fn open(path: &Path, rule: &Rule) -> Result<OwnedFd> {
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .doing(|| format!("landlock {rule}"))
        .remedy(Errno::ELOOP, "a link of /proc is not followed; name the file itself")
}

/// The rules with all that they name open.
pub(crate) struct Opened(RulesetCreated);

impl Opened {
    /// Holds this process to them, for good. no_new_privs must be set.
    pub(crate) fn restrict_self(self) -> Result<()> {
        let status = self.0.no_new_privs(false).restrict_self().map_err(|error| failed(&error))?;
        if status.ruleset != RulesetStatus::FullyEnforced {
            return Err(Error::new("landlock", "the kernel does not enforce all rules"));
        }
        Ok(())
    }
}

/// The errors of the crate are words, each within the next.
fn failed(error: &RulesetError) -> Error {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    Error::new("landlock", inner.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(version: &str, rules: &str, lenient: bool) -> (Result<Vec<Feature>>, String) {
        let rules: Rules = Rules::parse(rules.as_ref()).expect("rules");
        let number = |version: &str| {
            let (major, minor) = version.split_once('.').expect("a version");
            (major.parse::<u32>().expect("number"), minor.parse::<u32>().expect("number"))
        };
        let mut said = String::new();
        let is_there = |feature: Feature| number(feature.lack().1) <= number(version);
        let there = available(needed(&rules.0.iter().collect::<Vec<_>>()), lenient, is_there, |text| {
            said = text.into();
        });
        (there, said)
    }

    #[test]
    fn what_an_older_kernel_lacks_is_an_error_that_names_the_newer_one() {
        let (there, _) = on("6.1", "ro:/", false);
        assert_eq!(
            there.expect_err("lacks").to_string(),
            "landlock: the kernel cannot restrict truncating files, ioctl on devices, signals and abstract sockets \
             to the outside; Linux 6.12 with CONFIG_SECURITY_LANDLOCK and lsm=landlock can; or --try-landlock"
        );
        let (there, _) = on("6.6", "tcp-bind:80", false);
        assert!(there.expect_err("lacks").to_string().contains("use of TCP ports"));
        assert!(on("6.12", "ro:/,tcp-bind:80", false).0.is_ok());
    }

    #[test]
    fn with_try_it_is_said_and_the_rest_is_done() {
        let (there, said) = on("6.1", "ro:/", true);
        assert_eq!(there.expect("goes on"), [Feature::Files, Feature::Refer]);
        assert!(said.starts_with("landlock: the kernel cannot restrict truncating files, "), "{said}");
        assert_eq!(on("6.12", "ro:/", true).1, "");
        assert_eq!(on("5.4", "ro:/", true).0.expect("goes on"), []);
    }
}
