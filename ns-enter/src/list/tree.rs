//! The drawing of `--tree`: user namespaces, then pid namespaces, each below the one it was made in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use chain::table::cut;

use super::{scan::Namespace, table::what};
use crate::kind::Kind;

/// The strokes of a tree: before a node that others follow, before the last one, and below each.
#[derive(Debug)]
pub(super) struct Strokes {
    more: &'static str,
    last: &'static str,
    below_more: &'static str,
    below_last: &'static str,
}

const LINES: Strokes = Strokes { more: "├─ ", last: "└─ ", below_more: "│  ", below_last: "   " };
const ASCII: Strokes = Strokes { more: "|- ", last: "`- ", below_more: "|  ", below_last: "   " };

impl Strokes {
    /// Those that a terminal of this locale can show, such as `C` or `de_DE.UTF-8` (locale(7)).
    pub(super) fn of_locale(locale: &str) -> &'static Self {
        let locale = locale.to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { &LINES } else { &ASCII }
    }
}

/// Draws the namespaces of both kinds, each line cut to `width` if there is one. One whose parent is
/// out of sight stands at the top.
pub(super) fn tree(namespaces: &[Namespace], strokes: &Strokes, width: Option<usize>) -> String {
    let mut text = String::new();
    for kind in [Kind::User, Kind::Pid] {
        let mut lines = vec![kind.name().to_owned()];
        draw(None, "", &families(namespaces, kind), strokes, &mut lines);
        for line in lines {
            text.push_str(cut(&line, width));
            text.push('\n');
        }
    }
    text
}

/// The namespaces of one kind by their parents.
type Families<'a> = BTreeMap<Option<u64>, Vec<&'a Namespace>>;

fn families(namespaces: &[Namespace], kind: Kind) -> Families<'_> {
    let all = || namespaces.iter().filter(|namespace| namespace.kind == kind);
    let seen: BTreeSet<_> = all().map(|namespace| namespace.inode).collect();
    let mut families = Families::new();
    for namespace in all() {
        let parent = namespace.parent.filter(|parent| seen.contains(parent));
        families.entry(parent).or_default().push(namespace);
    }
    families
}

fn draw(parent: Option<u64>, indent: &str, families: &Families, strokes: &Strokes, lines: &mut Vec<String>) {
    let children = families.get(&parent).map_or(&[][..], Vec::as_slice);
    for (at, child) in children.iter().enumerate() {
        let (stroke, below) = if at + 1 == children.len() {
            (strokes.last, strokes.below_last)
        } else {
            (strokes.more, strokes.below_more)
        };
        lines.push(format!("{indent}{stroke}{}", node(child)));
        draw(Some(child.inode), &format!("{indent}{below}"), families, strokes, lines);
    }
}

/// `4026532177 made by uid 1000, 2 processes from pid 4242: sh`
fn node(namespace: &Namespace) -> String {
    let mut text = namespace.inode.to_string();
    // Writing to a string does not fail.
    if let Some(uid) = namespace.owner_uid {
        let _ = write!(text, " made by uid {uid},");
    }
    let _ = match (namespace.processes, namespace.pid) {
        (1, Some(pid)) => write!(text, " 1 process, pid {pid}"),
        (many, Some(pid)) => write!(text, " {many} processes from pid {pid}"),
        (_, None) => write!(text, " no process"),
    };
    if let Some(what) = what(namespace) {
        let _ = write!(text, ": {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(kind: Kind, inode: u64, parent: Option<u64>, processes: usize) -> Namespace {
        let pid = (processes > 0).then_some(40);
        let command = pid.map(|_| "sh".to_owned());
        Namespace { processes, pid, command, parent, ..Namespace::new(kind, inode) }
    }

    fn scene() -> Vec<Namespace> {
        let user = Namespace { owner_uid: Some(0), ..namespace(Kind::User, 1, None, 12) };
        let kept = Namespace { files: vec!["/run/p".into()], ..namespace(Kind::Pid, 6, Some(3), 0) };
        vec![
            user,
            namespace(Kind::Net, 2, None, 12),
            namespace(Kind::Pid, 2, None, 12),
            namespace(Kind::Pid, 3, Some(2), 0),
            namespace(Kind::Pid, 4, Some(3), 1),
            namespace(Kind::Pid, 5, Some(2), 2),
            kept,
        ]
    }

    #[test]
    fn each_stands_below_the_one_it_was_made_in() {
        let expected = "\
user
└─ 1 made by uid 0, 12 processes from pid 40: sh
pid
└─ 2 12 processes from pid 40: sh
   ├─ 3 no process
   │  ├─ 4 1 process, pid 40: sh
   │  └─ 6 no process: kept on /run/p
   └─ 5 2 processes from pid 40: sh
";
        assert_eq!(tree(&scene(), &LINES, None), expected);
    }

    #[test]
    fn without_utf_8_the_strokes_are_ascii() {
        for locale in ["", "C", "POSIX", "de_DE", "de_DE.ISO-8859-1@euro"] {
            assert!(tree(&scene(), Strokes::of_locale(locale), None).is_ascii(), "{locale}");
        }
        for locale in ["C.UTF-8", "de_DE.utf8", "en_US.UTF-8@x"] {
            assert!(!tree(&scene(), Strokes::of_locale(locale), None).is_ascii(), "{locale}");
        }
    }

    #[test]
    fn one_whose_parent_is_out_of_sight_stands_at_the_top() {
        let lone = [namespace(Kind::Pid, 3, Some(2), 1), namespace(Kind::Pid, 4, None, 1)];
        let expected = "user\npid\n|- 3 1 process, pid 40: sh\n`- 4 1 process, pid 40: sh\n";
        assert_eq!(tree(&lone, &ASCII, None), expected);
    }

    #[test]
    fn a_terminal_gets_what_fits() {
        assert!(tree(&scene(), &LINES, Some(20)).lines().all(|line| line.chars().count() <= 20));
    }
}
