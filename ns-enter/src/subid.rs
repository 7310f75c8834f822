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
    let Some(first) = common.first().map(|range| range.first) else {
        let why = format!("they do not give root the same {count} ids, though the first has a line for root");
        return Err(Error::new("/etc/subuid, /etc/subgid", why));
    };
    let others = others(&users, &groups)?;
    let Some(outside) = common.iter().find_map(|range| first_free(*range, &others, count)) else {
        let why = format!(
            "the {count} ids from {first} on, which it gives to root, are another user's or group's too"
        );
        return Err(Error::new("/etc/subuid", why));
    };
    Ok(Some(Range { inside: 0, outside, count }))
}

/// The first of so many ids that root could be given: they are nobody's, and /etc/subuid and /etc/subgid give them to no
/// other. From 100000 on, as useradd(8) does it.
pub fn range_to_give(count: u32) -> Result<Option<u32>> {
    const FIRST: u32 = 100_000;
    let others = others(&lines_of("/etc/subuid")?, &lines_of("/etc/subgid")?)?;
    Ok(first_free(Part { first: FIRST, count: u32::MAX - FIRST }, &others, count))
}

/// What is not for root's boxes: ids that are given to others, and those of users and groups.
fn others(users: &[Line], groups: &[Line]) -> Result<Vec<Part>> {
    let mut others: Vec<_> =
        users.iter().chain(groups).filter(|line| !line.is_roots()).map(|line| line.ids).collect();
    for file in ["/etc/passwd", "/etc/group"] {
        others.extend(ids(&read(file)?).into_iter().map(|first| Part { first, count: 1 }));
    }
    others.sort_unstable_by_key(|part| part.first);
    Ok(others)
}

/// Where in a range so many ids begin that meet none of the others, which are in order.
fn first_free(range: Part, others: &[Part], count: u32) -> Option<u32> {
    // That of the machine's root is nobody's to give.
    let mut first = range.first.max(1);
    for other in others {
        if in_both((first, count), (other.first, other.count)) {
            first = other.first.checked_add(other.count)?;
        }
    }
    let end = u64::from(range.first) + u64::from(range.count);
    (u64::from(first) + u64::from(count) <= end).then_some(first)
}

/// Ids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    first: u32,
    count: u32,
}

impl Part {
    /// Parses `FIRST:COUNT`, as it stands at the end of a line.
    fn parse(text: &str) -> Option<Self> {
        let (first, count) = text.trim_end().split_once(':')?;
        let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
        (count > 0 && first.checked_add(count).is_some()).then_some(Self { first, count })
    }
}

/// Ids that a file gives to a user.
#[derive(Debug)]
struct Line {
    user: String,
    ids: Part,
}

impl Line {
    fn is_roots(&self) -> bool {
        is_root(&self.user)
    }
}

fn is_root(user: &str) -> bool {
    user == "root" || user == "0"
}

fn lines_of(file: &str) -> Result<Vec<Line>> {
    parse(&read(file)?).map_err(|(at, why)| Error::new(format!("{file}: line {at}"), why))
}

/// The lines that give ids. One that says nothing else is an error, with its number: what was meant is not known, and
/// newuidmap(1) may read it as ids that are then two users'. Comments, and lines without two colons, give nothing.
fn parse(text: &str) -> Result<Vec<Line>, (usize, &'static str)> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (user, ids) = line.split_once(':').unwrap_or((line, ""));
        let is_roots = is_root(user.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
        if !is_roots && (user.starts_with('#') || !ids.contains(':')) {
            continue;
        }
        match Part::parse(ids) {
            Some(ids) if is_roots == is_root(user) => lines.push(Line { user: user.to_owned(), ids }),
            _ => return Err((at + 1, "it is not of the form USER:FIRST:COUNT, such as root:100000:65536")),
        }
    }
    Ok(lines)
}

/// The ranges of root's that are in both, and have so many ids.
fn common(users: &[Line], groups: &[Line], count: u32) -> Vec<Part> {
    let roots = |lines: &'_ [Line]| -> Vec<Part> {
        lines.iter().filter(|line| line.is_roots()).map(|line| line.ids).collect()
    };
    let groups = roots(groups);
    let both = |users: Part| {
        let parts = groups.iter().map(move |groups| {
            let first = users.first.max(groups.first);
            let end = (users.first + users.count).min(groups.first + groups.count);
            Part { first, count: end.saturating_sub(first) }
        });
        parts.filter(|part| part.count >= count).collect::<Vec<_>>()
    };
    roots(users).into_iter().flat_map(both).collect()
}

/// The ids of those that a file such as passwd(5) or group(5) names.
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

/// What each line gives that is this user's, by name or by number.
fn given(text: &str, name: Option<&str>, uid: u32) -> Vec<Part> {
    let line = |line: &str| {
        let (user, ids) = line.split_once(':')?;
        let is_users = Some(user) == name || user.parse() == Ok(uid);
        Part::parse(ids).filter(|_| is_users)
    };
    text.lines().filter_map(line).collect()
}

/// The own id as 0, and after it what is given, one after the other.
fn lined_up(own: u32, given: &[Part]) -> Vec<Range> {
    let mut ranges = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next = 1_u32;
    for Part { first, count } in given.iter().copied() {
        let Some(end) = next.checked_add(count) else { break };
        ranges.push(Range { inside: next, outside: first, count });
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

    fn part((first, count): (u32, u32)) -> Part {
        Part { first, count }
    }

    #[test]
    fn a_users_lines_are_found_by_name_and_by_number() {
        assert_eq!(given(SUBUID, Some("ann"), 1000), [part((100_000, 65536)), part((300_000, 10))]);
        assert_eq!(given(SUBUID, None, 1000), [part((300_000, 10))]);
        assert_eq!(given(SUBUID, Some("eve"), 7), []);
    }

    #[test]
    fn the_own_id_is_root_and_the_others_follow_without_a_gap() {
        let ranges = lined_up(1000, &[part((100_000, 65536)), part((300_000, 10))]);
        let shown: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0:1000:1", "1:100000:65536", "65537:300000:10"]);
    }

    #[test]
    fn ids_are_roots_as_users_and_as_groups() {
        let starts = |users: &str, groups: &str| {
            let common = common(&parse(users).expect("users"), &parse(groups).expect("groups"), 65536);
            common.iter().map(|part| part.first).collect::<Vec<_>>()
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
    fn a_line_that_cannot_be_read_is_an_error() {
        for line in [
            "root",
            "root:",
            "root:1",
            "root:1:0",
            "root:a:1",
            "root:1:2:3",
            "0:4294967295:2",
            " root :1:",
            " root:1:1",
            "root :1:1",
            "root\t:1:1",
            "\u{feff}root:1:1",
            "bob:0x1:1",
            "bob:1:4294967295",
            "bob: 1:1",
            "bob:1:1:",
        ] {
            let at = parse(&format!("ann:1:1\n{line}\nann:2")).map(drop).map_err(|(at, _)| at);
            assert_eq!(at, Err(2), "{line}");
        }
        assert_eq!(parse("ann:1\nrooty:\n\n#root:1\n#ann:x:y\n").expect("others'").len(), 0);
    }

    #[test]
    fn what_is_free_is_found_also_in_the_middle_of_a_range() {
        let others = [(0, 1), (1, 1000), (60_000, 10), (165_536, 65_536), (300_000, 1)];
        let others = others.map(part);
        let free = |first, count| first_free(Part { first, count }, &others, 65_536);
        assert_eq!(free(100_000, 65_536), Some(100_000));
        assert_eq!(free(60_000, 200_000), Some(60_010));
        assert_eq!(free(0, u32::MAX), Some(60_010));
        assert_eq!(free(110_000, 100_000), None);
        assert_eq!(free(110_000, 300_000), Some(231_072));
        assert_eq!(free(u32::MAX - 65_536, 65_536), Some(u32::MAX - 65_536));
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
