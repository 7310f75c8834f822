//! Names of groups, as they are typed.

use std::{
    ffi::{OsStr, OsString},
    fmt,
};

use chain::{Doing, Error, Result};
use clap::builder::{OsStringValueParser, TypedValueParser};
use rustix::rand::{GetRandomFlags, getrandom};

/// The name of a group that stays, relative to the caller's own group: names with slashes between
/// them. It cannot lead out of that group, nor look like a transient group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName(String);

/// How the names of transient groups begin.
pub(crate) const TRANSIENT: &str = "cg-set.";

/// The name of a transient group of this process: `cg-set.PID.RANDOM`.
pub(crate) fn transient() -> Result<String> {
    Ok(format!("{TRANSIENT}{}.{}", std::process::id(), random()?))
}

pub(crate) fn random() -> Result<u32> {
    let mut random = [0; 4];
    getrandom(&mut random, GetRandomFlags::NONBLOCK).doing(|| "make a name for the group".into())?;
    Ok(u32::from_ne_bytes(random))
}

impl GroupName {
    /// Checks a name as it was typed.
    pub fn parse(name: &OsStr) -> Result<Self> {
        Self::given_with("--name", name)
    }

    /// A parser of an option's value.
    pub(crate) fn parser(option: &'static str) -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new()
            .try_map(move |name: OsString| Self::given_with(option, &name).map_err(|error| error.reason()))
    }

    fn given_with(option: &str, name: &OsStr) -> Result<Self> {
        let bad = |why: &str| Err(Error::new(format!("{option} {:?}", name.display().to_string()), why));
        let Some(text) = name.to_str() else { return bad("not UTF-8") };
        if text.starts_with('/') {
            return bad("a group is named from the caller's own, not from /");
        }
        for part in text.split('/') {
            match part {
                "" => return bad("an empty name"),
                "." | ".." => return bad("a group is named without . and .."),
                _ if part.len() > 255 => return bad("a name has at most 255 bytes"),
                _ if part.starts_with(TRANSIENT) => return bad("names like this are for transient groups"),
                _ if part.chars().any(char::is_control) => return bad("a control character in a name"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The group of this name below another.
    pub(crate) fn join(&self, below: &Self) -> Self {
        Self(format!("{self}/{below}"))
    }

    /// The name as a relative path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_callers_group() {
        for name in
            ["", "/", "/a", "..", "a/..", "a/../b", "./a", "a//b", "a/", "a\nb", "cg-set.1.2", "a/cg-set.1"]
        {
            assert!(GroupName::parse(OsStr::new(name)).is_err(), "{name:?}");
        }
        for name in ["a", "a/b", "a b", "...", "ü"] {
            assert!(GroupName::parse(OsStr::new(name)).is_ok(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(value in "\\PC*") {
            let _ = GroupName::parse(OsStr::new(&value));
        }
    }
}
