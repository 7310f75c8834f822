//! `devices`: which devices may be opened and made, as a list of what is allowed. On cgroup v1 it is the
//! devices controller's (Documentation/admin-guide/cgroup-v1/devices.rst of the kernel); v2 has a program
//! in its place (cgroup-v2.rst, "Device controller").

mod bpf;
mod program;
mod v1;
mod v2;

use std::{collections::BTreeMap, fmt, fs, os::unix::fs::FileTypeExt, os::unix::fs::MetadataExt, path::Path};

use chain::{Doing, Error, Result};
use nix::sys::stat::{major, minor};

use crate::{hierarchy::Version, value::whole};

/// Which devices may be opened and made: a first word, and what is allowed besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    first: Option<First>,
    rules: Vec<Rule>,
}

/// What a list begins with. Without it, it begins with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    Standard,
    All,
}

const FIRST: [(&str, First); 3] = [("none", First::Nothing), ("std", First::Standard), ("all", First::All)];

/// One device, or several by their numbers, and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    node: Node,
    access: Access,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// By the path of a device node.
    Path(String),
    Numbers(Numbers),
}

/// Devices by their numbers. `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Numbers {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Char,
    Block,
}

/// Bits as in <linux/bpf.h>: make a node 1, read 2, write 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access(u8);

/// What is allowed, by number; all else is not.
type List = BTreeMap<Numbers, Access>;

/// What programs take for granted, as container runtimes and systemd (DevicePolicy=closed) allow it: null,
/// zero, full, random, urandom, tty, ptmx and all terminals of /dev/pts (Documentation/admin-guide/devices.txt).
const STANDARD: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

impl Devices {
    /// No restriction but those of the groups above.
    pub(crate) const ALL: Self = Self { first: Some(First::All), rules: Vec::new() };

    /// Reads `none,+/dev/fuse:rw`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(',').map_or((text, None), |(word, rest)| (word, Some(rest)));
        let first = FIRST.iter().find(|(name, _)| *name == word).map(|(_, first)| *first);
        let rules = if first.is_some() { rest } else { Some(text) };
        if first.is_none() && !text.starts_with('+') {
            return Err("not none, std or all; devices are added as in none,+/dev/fuse:rw".into());
        }
        if first == Some(First::All) && rules.is_some() {
            return Err("all leaves nothing to add; begin with none or std".into());
        }
        let rules = rules.into_iter().flat_map(|rules| rules.split(','));
        Ok(Self { first, rules: rules.map(Rule::parse).collect::<Result<_, _>>()? })
    }

    /// The same by number, in the order and with the first word that it is shown with.
    pub(crate) fn numbered(&self) -> Result<Self> {
        let numbers = |rule: &Rule| Ok(Rule { node: Node::Numbers(rule.node.numbers()?), ..*rule });
        let rules = self.rules.iter().map(numbers).collect::<Result<_>>()?;
        Ok(Self::of(Self { rules, ..*self }.list()))
    }

    /// What is allowed; `None` is everything. Paths are numbers by then.
    fn list(&self) -> Option<List> {
        let mut list = match self.first {
            Some(First::All) => return None,
            Some(First::Standard) => standard(),
            Some(First::Nothing) | None => List::new(),
        };
        for rule in &self.rules {
            if let Node::Numbers(numbers) = &rule.node {
                let access = list.entry(*numbers).or_insert(Access(0));
                *access = Access(access.0 | rule.access.0);
            }
        }
        Some(list)
    }

    fn of(list: Option<List>) -> Self {
        let Some(mut list) = list else { return Self::ALL };
        let standard = standard();
        let mut first = First::Nothing;
        if standard.iter().all(|(numbers, access)| list.get(numbers) == Some(access)) {
            first = First::Standard;
            list.retain(|numbers, _| !standard.contains_key(numbers));
        }
        let rule = |(numbers, access)| Rule { node: Node::Numbers(numbers), access };
        Self { first: Some(first), rules: list.into_iter().map(rule).collect() }
    }

    /// Whether something is refused that the other list allows.
    pub(crate) fn refuses_some_of(&self, other: &Self) -> bool {
        match (self.list(), other.list()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(own), Some(other)) => other
                .iter()
                .any(|(numbers, access)| !own.iter().any(|(of, to)| of.holds(*numbers) && to.holds(*access))),
        }
    }

    /// Restricts a group to it.
    pub(crate) fn set(&self, version: Version, dir: &Path) -> Result<()> {
        match version {
            Version::V1 => v1::set(self, dir),
            Version::V2 => v2::set(self, dir),
        }
    }

    /// What a group is restricted to, as far as that can be told.
    pub(crate) fn get(version: Version, dir: &Path) -> Option<Self> {
        match version {
            Version::V1 => v1::get(dir),
            Version::V2 => v2::get(dir),
        }
    }
}

fn standard() -> List {
    let numbers = |(major, minor)| Numbers { kind: Kind::Char, major: Some(major), minor };
    STANDARD.into_iter().map(|device| (numbers(device), Access::ALL)).collect()
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("{text:?}: {why}");
        let Some((node, access)) = text.strip_prefix('+').and_then(|rule| rule.rsplit_once(':')) else {
            return Err(refuse(
                "write such as +/dev/fuse:rw or +c1:3:r; a device whose path has a comma goes by its numbers",
            ));
        };
        let access = Access::parse(access)
            .ok_or_else(|| refuse("after the last colon stands what is allowed: r, w, m or more of them"))?;
        let node = match Numbers::parse(node) {
            Some(numbers) => Node::Numbers(numbers),
            None if node.starts_with('/') => Node::Path(node.to_owned()),
            None => return Err(refuse("a device is a path from / or numbers such as c1:3 and b8:*")),
        };
        Ok(Self { node, access })
    }
}

impl Node {
    fn numbers(&self) -> Result<Numbers> {
        let path = match self {
            Self::Numbers(numbers) => return Ok(*numbers),
            Self::Path(path) => path,
        };
        let file = fs::metadata(path).doing(|| path.clone())?;
        let kind = match file.file_type() {
            kind if kind.is_char_device() => Kind::Char,
            kind if kind.is_block_device() => Kind::Block,
            _ => {
                return Err(Error::new(path.as_str(), "not a device node")
                    .hint("several are named by their numbers, such as +c136:*:rw for all of /dev/pts"));
            }
        };
        let part = |number: u64| u32::try_from(number).ok();
        Ok(Numbers { kind, major: part(major(file.rdev())), minor: part(minor(file.rdev())) })
    }
}

impl Numbers {
    /// The most that the kernel's dev_t holds (MINORBITS in include/linux/kdev_t.h).
    const MOST_MAJOR: u32 = (1 << 12) - 1;
    const MOST_MINOR: u32 = (1 << 20) - 1;

    /// `c1:3`, `b8:*`.
    fn parse(text: &str) -> Option<Self> {
        let kind = match text.chars().next()? {
            'c' => Kind::Char,
            'b' => Kind::Block,
            _ => return None,
        };
        let (major, minor) = text[1..].split_once(':')?;
        let number = |text: &str, most: u32| match text {
            "*" => Some(None),
            _ => whole(text)
                .filter(|_| !text.is_empty())
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number <= most)
                .map(Some),
        };
        let (major, minor) = (number(major, Self::MOST_MAJOR)?, number(minor, Self::MOST_MINOR)?);
        Some(Self { kind, major, minor })
    }

    /// Whether these are all of the others too.
    fn holds(self, other: Self) -> bool {
        self.kind == other.kind
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }
}

impl Access {
    const ALL: Self = Self(7);
    const LETTERS: [(char, u8); 3] = [('r', 2), ('w', 4), ('m', 1)];

    /// `rwm` or a part of it, each letter once.
    fn parse(text: &str) -> Option<Self> {
        let add = |sum: u8, letter: char| {
            let (_, bit) = Self::LETTERS.iter().find(|(of, _)| *of == letter)?;
            (sum & bit == 0).then_some(sum | bit)
        };
        text.chars().try_fold(0, add).filter(|bits| *bits != 0).map(Self)
    }

    /// Whether it is all of the other too.
    fn holds(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// It without the other, if something is left.
    fn without(self, other: Self) -> Option<Self> {
        Some(Self(self.0 & !other.0)).filter(|left| left.0 != 0)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let first = FIRST.iter().find(|(_, first)| Some(*first) == self.first).map(|(name, _)| *name);
        let rules = self.rules.iter().map(|rule| format!("+{}:{}", rule.node, rule.access));
        f.write_str(&first.map(str::to_owned).into_iter().chain(rules).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Numbers(numbers) => numbers.fmt(f),
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = if self.kind == Kind::Char { 'c' } else { 'b' };
        write!(f, "{kind}{}:{}", number(self.major), number(self.minor))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let letters = Self::LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0);
        letters.map(|(letter, _)| *letter).try_for_each(|letter| write!(f, "{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::subsequence};

    fn list(text: &str) -> List {
        Devices::parse(text).expect("devices").list().expect("not all")
    }

    #[test]
    fn without_a_first_word_nothing_but_what_is_given_is_allowed() {
        assert_eq!(list("+c1:3:rw"), list("none,+c1:3:rw"));
        assert_eq!(list("none").len(), 0);
        assert_eq!(list("std,+b8:*:r").len(), STANDARD.len() + 1);
        assert_eq!(Devices::parse("all").expect("devices").list(), None);
    }

    #[test]
    fn what_is_given_twice_adds_up() {
        assert_eq!(list("none,+c1:3:r,+c1:3:w"), list("none,+c1:3:wr"));
    }

    #[test]
    fn a_path_is_the_device_that_it_leads_to_when_it_is_looked_up() {
        let devices = Devices::parse("none,+/dev/null:w").expect("devices");
        assert_eq!(devices.numbered().expect("a device").to_string(), "none,+c1:3:w");
        for (path, why) in [("/dev", "not a device node"), ("/dev/no/such", "No such file")] {
            let error = Devices::parse(&format!("+{path}:r")).expect("devices").numbered().expect_err(path);
            assert!(error.to_string().starts_with(&format!("{path}: {why}")), "{error}");
        }
    }

    #[test]
    fn only_the_last_colon_divides() {
        let text = "+/dev/serial/pci-0000:00:14.0:rw";
        let devices = Devices::parse(text).expect("devices");
        assert_eq!(devices.rules[0].node, Node::Path("/dev/serial/pci-0000:00:14.0".into()));
        assert_eq!(devices.to_string(), text);
    }

    #[test]
    fn the_standard_devices_are_shown_by_that_word() {
        let shown =
            |text: &str| Devices::parse(text).expect("devices").numbered().expect("numbers").to_string();
        for text in ["std", "none", "all", "std,+c10:229:rw,+b7:*:r", "none,+c1:3:rw"] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("+b7:0:r,+c10:229:rw"), "none,+c10:229:rw,+b7:0:r");
    }

    #[test]
    fn a_list_refuses_what_no_one_of_its_rules_allows_as_the_kernel_does() {
        let refuses = |one: &str, other: &str| {
            Devices::parse(one).expect("devices").refuses_some_of(&Devices::parse(other).expect("devices"))
        };
        assert!(refuses("none", "all") && refuses("none,+c1:3:r", "none,+c1:3:rw"));
        assert!(refuses("none,+c1:*:r,+c*:3:w", "none,+c1:3:rw"));
        assert!(!refuses("none,+c1:*:rw", "none,+c1:3:rw") && !refuses("all", "none,+c1:3:rw"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "some",
            "none,",
            ",none",
            "none,none",
            "none,std",
            "all,+c1:3:r",
            "+",
            "+c1:3",
            "+c1:3:",
            "+c1:3:x",
            "+c1:3:rr",
            "+c:3:r",
            "+c1::r",
            "+c4096:0:r",
            "+c1:1048576:r",
            "+d1:3:r",
            "+a*:*:r",
            "c1:3:r",
            "+dev/null:r",
            "+/dev/null",
            "+/dev/a,b:r",
            "-c1:3:r",
            "+c+1:3:r",
            "none, +c1:3:r",
        ] {
            assert!(Devices::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(
            first in "((none|std),)?",
            rules in prop::collection::vec(
                ("[cb]([0-9]{1,3}|\\*):([0-9]{1,6}|\\*)|(/[^,\\pC]{1,8}){1,3}", subsequence(vec!['r', 'w', 'm'], 1..=3)),
                1..5,
            ),
        ) {
            let rule = |(node, access): &(String, Vec<char>)| format!("+{node}:{}", String::from_iter(access));
            let text = format!("{first}{}", rules.iter().map(rule).collect::<Vec<_>>().join(","));
            let devices = Devices::parse(&text).expect("devices");
            prop_assert_eq!(Devices::parse(&devices.to_string()), Ok(devices.clone()));
            // Zeros in front are all that is not kept.
            if !text.contains("c0") && !text.contains("b0") && !text.contains(":0") {
                prop_assert_eq!(devices.to_string(), text);
            }
        }

        #[test]
        fn no_input_panics(text in "\\PC*", list in "[cbnoesatdl+,:*/0-9rwm]{0,30}") {
            let _ = Devices::parse(&text);
            let _ = Devices::parse(&list);
        }
    }
}
