//! The ids that are a user's by subuid(5) and subgid(5), and the programs that may map them.

use std::{fs, io::ErrorKind, path::Path, process::Command};

use chain::{Doing, Error, Result};
use nix::unistd::Pid;

use crate::idmap::Range;

/// Which of the two kinds of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    Users,
    Groups,
}

impl Ids {
    /// The file in /proc/PID that holds the map.
    pub(crate) fn map_file(self) -> &'static str {
        match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        }
    }

    /// What [`crate::Map::Auto`], `asked` for by these words, means for the user `uid`: `own`, and what
    /// the file gives to that user.
    pub(crate) fn auto(self, asked: &str, uid: u32, own: u32) -> Result<Vec<Range>> {
        let file = match self {
            Self::Users => "/etc/subuid",
            Self::Groups => "/etc/subgid",
        };
        let bytes = match fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.doing(|| format!("read {file}"))?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let name = user_name(uid);
        let given = given(&text, name.as_deref(), uid);
        if given.is_empty() {
            let who = name.unwrap_or_else(|| uid.to_string());
            return Err(Error::new(asked, format!("{file} gives no ids to {who}"))
                .hint(format!("add a line such as {who}:100000:65536")));
        }
        Ok(lined_up(own, &given))
    }

    /// Maps by the set-user-ID program that looks into the file (newuidmap(1), newgidmap(1)).
    pub(crate) fn map_by_program(self, child: Pid, ranges: &[Range]) -> Result<()> {
        let program = match self {
            Self::Users => "newuidmap",
            Self::Groups => "newgidmap",
        };
        let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
        let mut command = Command::new(program);
        command.arg(child.to_string()).args(numbers.map(|number| number.to_string()));
        let output = match command.output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(format!("run {program}"), "it is not there")
                    .hint("install it, on Debian by the package uidmap, or run as root"));
            }
            run => run.doing(|| format!("run {program}"))?,
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches(program).trim_start_matches(": ").trim_end_matches('.');
        let why = if said.is_empty() { output.status.to_string() } else { said.to_owned() };
        Err(Error::new(format!("map the ids by {program}"), why)
            .hint("it maps what /etc/subuid and /etc/subgid give to the caller"))
    }
}

/// The login name by /etc/passwd (passwd(5)), where the local subuid(5) names are from. The C library would ask
/// other services too, by code that it loads, and a program that is linked statically dies of that.
pub fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read(Path::new("/etc/passwd")).ok()?;
    String::from_utf8_lossy(&passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// First id and count of each line that is this user's, by name or by number.
fn given(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let [user, first, count] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        let is_users = Some(user) == name || user.parse() == Ok(uid);
        let (first, count): (u32, u32) = (first.parse().ok()?, count.trim_end().parse().ok()?);
        (is_users && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    };
    text.lines().filter_map(line).collect()
}

/// The own id as 0, and after it what is given, one after the other.
fn lined_up(own: u32, given: &[(u32, u32)]) -> Vec<Range> {
    let mut ranges = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next = 1_u32;
    for (outside, count) in given {
        let Some(end) = next.checked_add(*count) else { break };
        ranges.push(Range { inside: next, outside: *outside, count: *count });
        next = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUBUID: &str =
        "root:1:2\nann:100000:65536\nbob:200000:65536\n1000:300000:10\n# ann:5:5\nann:x:1\nann:7:0\n";

    #[test]
    fn a_users_lines_are_found_by_name_and_by_number() {
        assert_eq!(given(SUBUID, Some("ann"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(given(SUBUID, None, 1000), [(300_000, 10)]);
        assert_eq!(given(SUBUID, Some("eve"), 7), []);
    }

    #[test]
    fn the_own_id_is_root_and_the_others_follow_without_a_gap() {
        let ranges = lined_up(1000, &[(100_000, 65536), (300_000, 10)]);
        let shown: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0:1000:1", "1:100000:65536", "65537:300000:10"]);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*", line in "[0-9:\n]{0,60}") {
            let _ = given(&text, Some("a"), 0);
            lined_up(0, &given(&line, None, 1));
        }
    }
}
