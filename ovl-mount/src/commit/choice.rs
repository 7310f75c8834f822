//! Which paths are applied.

use std::{path::Path, str::FromStr};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// A pattern of paths, in which `*` and `?` do not stand for a slash, and `**` does.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Glob);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Paths are those below the root of the overlay, and a shell completes a directory with a slash.
        let parts: Vec<_> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.is_empty() || parts.contains(&"..") {
            return Err("it names nothing below the directory; write a path such as etc/app".into());
        }
        let glob = GlobBuilder::new(&parts.join("/")).literal_separator(true).build();
        glob.map(Self).map_err(|error| error.kind().to_string())
    }
}

/// Paths that match one of some patterns, or lie below one that does, and none of others.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    only: Option<GlobSet>,
    exclude: Option<GlobSet>,
    /// As it was said.
    words: Vec<String>,
}

impl Choice {
    pub(crate) fn new(only: &[Pattern], exclude: &[Pattern]) -> Result<Self, String> {
        let words = |option: &'static str, patterns: &[Pattern]| {
            patterns.iter().map(|pattern| format!("{option} {}", pattern.0.glob())).collect::<Vec<_>>()
        };
        let words = [words("--only", only), words("--exclude", exclude)].concat();
        Ok(Self { only: set(only)?, exclude: set(exclude)?, words })
    }

    /// The words of the command line that it is of.
    pub(crate) fn words(&self) -> String {
        self.words.join(" ")
    }

    pub(crate) fn takes(&self, path: &Path) -> bool {
        let is_in =
            |set: &GlobSet| path.ancestors().any(|path| !path.as_os_str().is_empty() && set.is_match(path));
        self.only.as_ref().is_none_or(is_in) && !self.exclude.as_ref().is_some_and(is_in)
    }
}

fn set(patterns: &[Pattern]) -> Result<Option<GlobSet>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern.0.clone());
    }
    set.build().map(Some).map_err(|error| error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_goes_for_all_that_is_below() {
        let patterns =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pattern")).collect::<Vec<_>>();
        let choice = Choice::new(&patterns(&["/etc/", "./usr/*//x"]), &patterns(&["**/*.log", "etc/tmp/"]))
            .expect("a choice");
        for (path, taken) in [
            ("etc", true),
            ("etc/a/b", true),
            ("usr/a/x/y", true),
            ("usr/a/b/x", false),
            ("etc/tmp", false),
            ("etc/tmp/a", false),
            ("etc/a.log", false),
            ("etc/a.log/in", false),
            ("var", false),
        ] {
            assert_eq!(choice.takes(Path::new(path)), taken, "{path}");
        }
        assert!(Choice::default().takes(Path::new("any")));
        for text in ["a[", "", ".", "/", "./", "..", "../a", "a/../b"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
