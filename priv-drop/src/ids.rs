//! User and groups: what NEXT runs as (credentials(7)).

use std::{collections::BTreeSet, fmt, str::FromStr};

use chain::{Doing, Error, Remedy, Result};
use nix::{
    errno::Errno,
    unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid},
};

use crate::{Settings, passwd};

/// A user or a group, by number or by name. The number is from 0 to 2^32 − 2: the one above means "leave
/// it as it is" to setresuid(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// By number.
    Number(u32),
    /// By the name that /etc/passwd or /etc/group has it under, in NEXT's root.
    Name(String),
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("nobody is named; write a name or a number".into());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(number) if number < u32::MAX => Ok(Self::Number(number)),
                _ => Err("too large a number; the most is 4294967294".into()),
            };
        }
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !":,/".contains(c);
        if text.starts_with(['-', '+']) || !text.chars().all(plain) {
            return Err(format!("{text} is neither a name nor a number"));
        }
        Ok(Self::Name(text.into()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Whom NEXT runs as. Typed as `USER` or `USER:GROUP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user: Id,
    /// The group. Without it, that of the user's entry in /etc/passwd; for a number, the same number.
    pub group: Option<Id>,
}

impl User {
    /// Whether it is the user with the number 0, as far as the words tell.
    pub fn is_root(&self) -> bool {
        match &self.user {
            Id::Number(number) => *number == 0,
            Id::Name(name) => name == "root",
        }
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group.parse()?)),
            None => (text, None),
        };
        Ok(Self { user: user.parse()?, group })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.user)?;
        self.group.iter().try_for_each(|group| write!(f, ":{group}"))
    }
}

/// A supplementary group.
pub type Group = Id;

/// What the process becomes, in numbers. `None` is left as it is.
pub(crate) struct Ids {
    user: Option<(Uid, Gid)>,
    groups: Option<BTreeSet<u32>>,
}

/// Finds the numbers of all that is named, in the root as it is now.
pub(crate) fn look_up(settings: &Settings) -> Result<Ids> {
    let group = |group: &Id| match group {
        Id::Number(number) => Ok(*number),
        Id::Name(name) => passwd::group(name),
    };
    let user = match &settings.user {
        None => None,
        Some(User { user, group: given }) => {
            let (uid, own) = match user {
                Id::Number(number) => (*number, *number),
                Id::Name(name) => passwd::user(name)?,
            };
            let gid = given.as_ref().map_or(Ok(own), group)?;
            Some((Uid::from_raw(uid), Gid::from_raw(gid)))
        }
    };
    let groups = settings.groups.iter().map(group).collect::<Result<BTreeSet<_>>>()?;
    let named = user.is_some() || !groups.is_empty();
    Ok(Ids { user, groups: named.then_some(groups) })
}

impl Ids {
    /// Becomes them, groups first: a user without CAP_SETGID can change none.
    pub(crate) fn set(&self) -> Result<()> {
        if let Some(groups) = &self.groups {
            set_groups(groups)?;
        }
        let Some((uid, gid)) = self.user else { return Ok(()) };
        setresgid(gid, gid, gid)
            .doing(|| format!("become group {gid}"))
            .remedy(Errno::EPERM, AS_ROOT)
            .remedy(Errno::EINVAL, UNMAPPED)?;
        setresuid(uid, uid, uid)
            .doing(|| format!("become user {uid}"))
            .remedy(Errno::EPERM, AS_ROOT)
            .remedy(Errno::EINVAL, UNMAPPED)?;
        let user = getresuid().doing(|| "read the user back".into())?;
        let group = getresgid().doing(|| "read the group back".into())?;
        let left = [user.real, user.effective, user.saved] != [uid; 3]
            || [group.real, group.effective, group.saved] != [gid; 3];
        if left {
            return Err(Error::new(
                format!("become user {uid}, group {gid}"),
                "something of the caller is left",
            ));
        }
        Ok(())
    }
}

const AS_ROOT: &str = "run as root, or in a new user namespace: ns-enter user -- priv-drop";
const UNMAPPED: &str = "the user namespace has no such number; see /proc/self/uid_map and gid_map";

/// Replaces all supplementary groups, and reads them back.
fn set_groups(groups: &BTreeSet<u32>) -> Result<()> {
    let doing = || match groups.len() {
        0 => "leave all supplementary groups".into(),
        _ => format!("set the supplementary groups {groups:?}"),
    };
    let present = || getgroups().map(|gids| gids.into_iter().map(Gid::as_raw).collect::<BTreeSet<_>>());
    // A user namespace whose maker is no root has no other groups to set (user_namespaces(7)).
    if present().doing(doing)? == *groups {
        return Ok(());
    }
    let gids: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&gids).doing(doing).remedy(Errno::EPERM, AS_ROOT).remedy(Errno::EINVAL, UNMAPPED)?;
    if present().doing(doing)? != *groups {
        return Err(Error::new(doing(), "another one is left"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "",
            ":",
            "a:",
            ":a",
            "a:b:c",
            "4294967295",
            "99999999999",
            "-1",
            "+a",
            "a b",
            "a,b",
            "a\n",
            "a/b",
        ] {
            assert!(text.parse::<User>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*") {
            let _ = text.parse::<User>();
        }
    }
}
