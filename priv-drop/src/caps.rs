//! Capabilities: which of them NEXT keeps, in all five sets (capabilities(7)).

use std::{collections::BTreeMap, fmt, str::FromStr};

use caps::{CapSet, Capability, CapsHashSet};
use chain::{Doing, Error, Result};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set, set_keep_capabilities};

/// The capabilities that NEXT keeps. Typed as `none`, `all`, or names with commas between them, with
/// or without the `cap_` in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Caps {
    /// None at all.
    #[default]
    None,
    /// All that the caller has; nothing is taken away.
    All,
    /// These, by their number, each of which the caller must have.
    Only(BTreeMap<u8, Capability>),
}

impl FromStr for Caps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let capability = |name: &str| {
            let known = caps::to_canonical(name).parse::<Capability>();
            let known = known.map(|capability| (capability.index(), capability));
            known.map_err(|_| {
                format!(
                    "{name} is not a capability; write none, all, or names such as net_bind_service,chown"
                )
            })
        };
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => text.split(',').map(capability).collect::<Result<_, _>>().map(Self::Only),
        }
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Only(caps) => f.write_str(&names(caps.values()).join(",")),
        }
    }
}

/// `net_bind_service`, as people type it.
fn names<'a>(caps: impl IntoIterator<Item = &'a Capability>) -> Vec<String> {
    caps.into_iter().map(|cap| cap.to_string().to_lowercase().replacen("cap_", "", 1)).collect()
}

/// Whether the caller may mount, and make namespaces without a user namespace (CAP_SYS_ADMIN).
pub fn is_admin() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

impl Caps {
    /// Those of a set as /proc/PID/status shows it; a bit that has no name here is none.
    pub fn of_bits(bits: u64) -> Self {
        let in_it = caps::all().into_iter().filter(|capability| bits & capability.bitmask() != 0);
        let only: BTreeMap<_, _> = in_it.map(|capability| (capability.index(), capability)).collect();
        if only.is_empty() { Self::None } else { Self::Only(only) }
    }

    /// What is kept of that which this process has.
    pub(crate) fn kept(&self) -> Result<Kept> {
        let permitted = caps::read(None, CapSet::Permitted).doing("read the capabilities")?;
        let caps = match self {
            Self::None => CapsHashSet::new(),
            Self::All => permitted.clone(),
            Self::Only(caps) => caps.values().copied().collect(),
        };
        let mut lacking = names(caps.difference(&permitted));
        lacking.sort();
        if !lacking.is_empty() {
            return Err(Error::new(format!("keep {}", lacking.join(",")), "the caller does not have it")
                .hint("run as root, or leave it out"));
        }
        Ok(Kept { caps, all: *self == Self::All })
    }
}

/// The capabilities that stay, as they are taken from this process step by step.
pub(crate) struct Kept {
    caps: CapsHashSet,
    all: bool,
}

impl Kept {
    pub(crate) fn caps(&self) -> &CapsHashSet {
        &self.caps
    }

    /// Takes all others out of the bounding set: no file that is run gives them again. False if only
    /// no_new_privs can see to that, as the caller has no CAP_SETPCAP.
    pub(crate) fn bound(&self) -> Result<bool> {
        if self.all {
            return Ok(true);
        }
        if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).doing("read the capabilities")? {
            return Ok(false);
        }
        let kept = self.caps.iter().map(Capability::bitmask).fold(0, |all, bit| all | bit);
        for number in 0..u64::BITS {
            let bit = 1 << number;
            if kept & bit != 0 {
                continue;
            }
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
                // The kernel knows no more of them; it may know more than this program has names for.
                Err(rustix::io::Errno::INVAL) => break,
                done => done.doing(|| format!("take capability {number} out of the bounding set"))?,
            }
        }
        Ok(true)
    }

    /// Changes the user while the permitted set stays as it is, if any of it is needed after.
    pub(crate) fn keep_while(&self, locked: bool, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let needed = locked || !self.caps.is_empty();
        if needed {
            set_keep_capabilities(true).doing(|| "keep capabilities over the change of user".into())?;
        }
        change()?;
        if needed {
            // exec(2) would clear it too; nothing is left to it.
            set_keep_capabilities(false).doing(|| "keep no capabilities any more".into())?;
            // A change from root to another user has cleared them.
            let permitted = caps::read(None, CapSet::Permitted).doing("read the capabilities")?;
            caps::set(None, CapSet::Effective, &permitted).doing("make the capabilities effective")?;
        }
        Ok(())
    }

    /// Puts what is kept, and nothing else, into the sets that outlive the exec(2) of an ordinary user.
    pub(crate) fn pass_on(&self) -> Result<()> {
        caps::clear(None, CapSet::Ambient).doing("clear the ambient capabilities")?;
        caps::set(None, CapSet::Inheritable, &self.caps).doing("set the inheritable capabilities")?;
        for cap in &self.caps {
            caps::raise(None, CapSet::Ambient, *cap)
                .doing("raise the ambient capabilities")
                .map_err(|error| error.hint("securebits that the caller locked may forbid it"))?;
        }
        Ok(())
    }

    /// Gives up all others, for good.
    pub(crate) fn drop_others(&self) -> Result<()> {
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &self.caps).doing("drop capabilities")?;
        }
        let wrong = |set: &str| Err(Error::new(format!("drop capabilities: {set} set"), "not as it was set"));
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
            if caps::read(None, set).doing("read the capabilities")? != self.caps {
                return wrong(&format!("{set:?}"));
            }
        }
        // No other can be in it, as it has none that is not permitted; and each is a system call to ask for.
        for cap in &self.caps {
            if !caps::has_cap(None, CapSet::Ambient, *cap).doing("read the capabilities")? {
                return wrong("ambient");
            }
        }
        Ok(())
    }
}

/// The errors of the crate are words; the kernel's own are in them.
trait InWords<T> {
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> InWords<T> for std::result::Result<T, caps::errors::CapsError> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| Error::new(what, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_taken_in_either_form_and_case() {
        let caps = "net_bind_service,CAP_CHOWN,cap_kill,chown".parse::<Caps>().expect("parses");
        assert_eq!(caps.to_string(), "chown,kill,net_bind_service");
    }

    #[test]
    fn what_is_no_capability_is_refused() {
        for text in
            ["", ",", "chown,", "chown,none", "all,chown", "ALL", "net", "cap_cap_chown", "chown kill", "21"]
        {
            assert!(text.parse::<Caps>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*") {
            let _ = text.parse::<Caps>();
        }
    }
}
