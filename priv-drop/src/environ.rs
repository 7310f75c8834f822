//! The environment that NEXT gets (environ(7)).

use std::{
    collections::BTreeMap,
    env,
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use chain::Launch;

use crate::Settings;

/// The name of a variable: not empty, and without a `=`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub OsString);

impl Name {
    /// Takes the name as it was typed.
    pub fn parse(word: &OsStr) -> Result<Self, &'static str> {
        let bytes = word.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
            return Err("not the name of a variable");
        }
        Ok(Self(word.to_owned()))
    }
}

/// A variable and its value. Typed as `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: Name,
    /// Its value, which may be empty.
    pub value: OsString,
}

impl Variable {
    /// Takes the word apart at the first `=`.
    pub fn parse(word: &OsStr) -> Result<Self, &'static str> {
        let bytes = word.as_bytes();
        let Some(end) = bytes.iter().position(|byte| *byte == b'=') else {
            return Err("no value; write NAME=VALUE, or --env-pass NAME for the caller's");
        };
        let name = Name::parse(OsStr::from_bytes(&bytes[..end]))?;
        Ok(Self { name, value: OsStr::from_bytes(&bytes[end + 1..]).to_owned() })
    }

    /// The word that makes the same.
    pub(crate) fn word(&self) -> OsString {
        let mut word = self.name.0.clone();
        word.push("=");
        word.push(&self.value);
        word
    }
}

/// Says what NEXT's environment is, if it is another one: the caller's or an empty one, then what is passed,
/// then what is set, a later one in the place of an earlier.
pub(crate) fn prepare(settings: &Settings, launch: &mut Launch) {
    if !settings.env_clear && settings.env.is_empty() {
        return;
    }
    let given: BTreeMap<OsString, OsString> = match launch.environment.take() {
        None => env::vars_os().collect(),
        Some(words) => words.into_iter().filter_map(split).collect(),
    };
    let passed =
        |name: &OsString| !settings.env_clear || settings.env_pass.iter().any(|pass| pass.0 == *name);
    let mut environment: BTreeMap<_, _> = given.into_iter().filter(|(name, _)| passed(name)).collect();
    environment.extend(settings.env.iter().map(|set| (set.name.0.clone(), set.value.clone())));
    let word = |(name, value)| CString::new(Variable { name: Name(name), value }.word().into_vec()).ok();
    launch.environment = Some(environment.into_iter().filter_map(word).collect());
}

/// A word that is no variable is none of the caller's.
fn split(word: CString) -> Option<(OsString, OsString)> {
    let variable = Variable::parse(&OsString::from_vec(word.into_bytes())).ok()?;
    Some((variable.name.0, variable.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_anything_and_a_name_must_be_one() {
        let variable = Variable::parse(OsStr::new("A==b\n")).expect("parses");
        assert_eq!(
            (variable.name.0.as_os_str(), variable.value.as_os_str()),
            (OsStr::new("A"), OsStr::new("=b\n"))
        );
        assert!(Variable::parse(OsStr::new("A")).is_err() && Variable::parse(OsStr::new("=b")).is_err());
    }
}
