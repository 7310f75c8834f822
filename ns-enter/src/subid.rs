//! The ids that are a user's by subuid(5) and subgid(5), and the programs that may map them.

use std::{fs, io::ErrorKind, path::Path, process::Command};

use chain::{Doing, Error, Result};
use nix::unistd::Pid;

use crate::idmap::{Range, in_both};

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
        let text = read(file)?;
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

/// So many ids that are nobody's, for a box of root's: of those that /etc/subuid and /etc/subgid both give to root and to
/// nobody else, and that no user and no group has; `None` if /etc/subuid has no line for root.
pub fn spare_range(count: u32) -> Result<Option<Range>> {
    let users = lines_of("/etc/subuid")?;
    if !users.iter().any(Line::is_roots) {
        return Ok(None);
    }
    let groups = lines_of("/etc/subgid")?;
    let common = common(&users, &groups, count);
    let Some(first) = common.first() else {
        let why = format!("they do not give root the same {count} ids, though the first has a line for root");
        return Err(Error::new("/etc/subuid, /etc/subgid", why));
    };
    let taken: Vec<_> = ["/etc/passwd", "/etc/group"].into_iter().map(ids_of).collect::<Result<_>>()?;
    let is_spare = |outside: &u32| {
        let range = Range { inside: 0, outside: *outside, count };
        let is_given = users.iter().chain(&groups).any(|line| !line.is_roots() && line.meets(range));
        *outside != 0 && !is_given && !taken.iter().flatten().any(|id| range.holds_outside(*id))
    };
    let Some(outside) = common.iter().copied().find(is_spare) else {
        let why = format!(
            "the {count} ids from {first} on, which it gives to root, are another user's or group's too"
        );
        return Err(Error::new("/etc/subuid", why));
    };
    Ok(Some(Range { inside: 0, outside, count }))
}

/// Ids that a file gives to a user.
#[derive(Debug)]
struct Line {
    user: String,
    first: u32,
    count: u32,
}

impl Line {
    fn is_roots(&self) -> bool {
        is_root(&self.user)
    }

    fn meets(&self, range: Range) -> bool {
        in_both((self.first, self.count), (range.outside, range.count))
    }
}

fn is_root(user: &str) -> bool {
    user == "root" || user == "0"
}

fn lines_of(file: &str) -> Result<Vec<Line>> {
    parse(&read(file)?).map_err(|(at, why)| Error::new(format!("{file}: line {at}"), why))
}

/// The lines that give ids. One of root's that says nothing else is an error, with its number: what was meant is not
/// known; one of others' is theirs to see.
fn parse(text: &str) -> Result<Vec<Line>, (usize, &'static str)> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (user, ids) = line.split_once(':').unwrap_or((line, ""));
        let ids = ids.trim_end().split_once(':').and_then(|(first, count)| {
            let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
            (count > 0 && first.checked_add(count).is_some()).then_some((first, count))
        });
        match ids {
            Some((first, count)) => lines.push(Line { user: user.to_owned(), first, count }),
            None if is_root(user.trim()) => return Err((at + 1, "it is not of the form root:FIRST:COUNT")),
            None => {}
        }
    }
    Ok(lines)
}

/// Where so many ids begin that are in one range of root's in both.
fn common(users: &[Line], groups: &[Line], count: u32) -> Vec<u32> {
    let roots = |lines: &'_ [Line]| -> Vec<(u32, u32)> {
        let roots = lines.iter().filter(|line| line.is_roots());
        roots.map(|line| (line.first, line.first + line.count)).collect()
    };
    let groups = roots(groups);
    let both = |(first, end): (u32, u32)| {
        let first_of_both = groups.iter().map(move |(other, other_end)| {
            let first = first.max(*other);
            (end.min(*other_end).saturating_sub(first) >= count).then_some(first)
        });
        first_of_both.flatten().collect::<Vec<_>>()
    };
    roots(users).into_iter().flat_map(both).collect()
}

/// The ids of those that a file such as passwd(5) or group(5) names.
fn ids_of(file: &str) -> Result<Vec<u32>> {
    Ok(ids(&read(file)?))
}

fn ids(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

/// The text of a file, which may be missing.
fn read(file: &str) -> Result<String> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.doing(|| format!("read {file}"))?,
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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

    #[test]
    fn ids_are_roots_as_users_and_as_groups() {
        let starts = |users: &str, groups: &str| {
            common(&parse(users).expect("users"), &parse(groups).expect("groups"), 65536)
        };
        assert_eq!(starts("root:100000:65536", "root:100000:65536"), [100_000]);
        assert_eq!(starts("root:7:10\n0:200000:1048576", "# ids\nroot:100000:1048576\n"), [200_000]);
        assert_eq!(starts("root:100000:1000000", "root:200000:65536\nroot:300000:65536"), [200_000, 300_000]);
        for (users, groups) in [
            ("root:100000:65535", "root:100000:65536"),
            ("root:100000:65536", "root:100001:65536"),
            ("root:100000:65536", "ann:100000:65536"),
            ("root:100000:65536", ""),
        ] {
            assert!(starts(users, groups).is_empty(), "{users} {groups}");
        }
    }

    #[test]
    fn a_line_of_roots_that_gives_nothing_is_an_error() {
        for line in
            ["root", "root:", "root:1", "root:1:0", "root:a:1", "root:1:2:3", "0:4294967295:2", " root :1:"]
        {
            let at = parse(&format!("ann:1:1\n{line}\nann:2")).map(drop).map_err(|(at, _)| at);
            assert_eq!(at, Err(2), "{line}");
        }
        assert_eq!(parse("ann:1\nrooty:\n\n#root:1\n").expect("others'").len(), 0);
    }

    #[test]
    fn a_range_meets_what_has_an_id_of_it() {
        let line = Line { user: "ann".into(), first: 100, count: 10 };
        let meets = |outside, count| line.meets(Range { inside: 0, outside, count });
        assert!(meets(100, 1) && meets(109, 5) && meets(90, 11) && meets(0, u32::MAX));
        assert!(!meets(110, 5) && !meets(90, 10));
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*", line in "[0-9:\n]{0,60}") {
            let _ = given(&text, Some("a"), 0);
            lined_up(0, &given(&line, None, 1));
            let all = parse(&text).and_then(|text| Ok((text, parse(&line)?)));
            let _ = all.map(|(text, line)| common(&text, &line, 2));
            ids(&text);
        }
    }
}
