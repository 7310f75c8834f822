//! The text of `--list`: aligned columns, of which only the last holds spaces.

use std::fmt::Write;

use chain::one_line;

use super::{Row, scan::Namespace};

/// As in JSON, but MAKER is the uid of who made a user namespace.
const HEADER: [&str; COLUMNS] = ["KIND", "INODE", "PROCS", "PID", "OWNER", "PARENT", "MAKER", "COMMAND"];
const COLUMNS: usize = 8;

/// A header and a line for each row, without spaces at the end, cut to `width` if there is one.
pub(super) fn table(rows: &[Row], width: Option<usize>) -> String {
    let lines: Vec<_> = rows.iter().map(cells).collect();
    let mut widths = HEADER.map(str::len);
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for line in [HEADER.map(str::to_owned)].iter().chain(&lines) {
        text.push_str(cut(&aligned(line, &widths), width));
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; COLUMNS] {
    let namespace = row.namespace;
    [
        row.name.to_owned(),
        namespace.inode.to_string(),
        namespace.processes.to_string(),
        or_dash(namespace.pid),
        or_dash(namespace.owner),
        or_dash(namespace.parent),
        or_dash(namespace.owner_uid),
        or_dash(what(namespace)),
    ]
}

/// Names to the left, numbers to the right, and what is last as it is.
fn aligned(cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        // Writing to a string does not fail.
        let _ = match at {
            0 => write!(line, "{cell:<width$}"),
            1..7 => write!(line, " {cell:>width$}"),
            _ => write!(line, " {cell}"),
        };
    }
    line
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// What is in the namespace and what keeps it, as one line: `sleep 9, kept on /run/netns/lab`.
pub(super) fn what(namespace: &Namespace) -> Option<String> {
    let command = namespace.command.clone();
    let files = namespace.files.iter().map(|file| format!("kept on {}", file.display()));
    let parts: Vec<_> = command.into_iter().chain(files).collect();
    (!parts.is_empty()).then(|| one_line(&parts.join(", ")))
}

/// The beginning of the line that fits, counted in characters.
pub(super) fn cut(line: &str, width: Option<usize>) -> &str {
    let end = width.and_then(|width| line.char_indices().nth(width));
    end.map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    fn shown(namespaces: &[Namespace], width: Option<usize>) -> String {
        let rows: Vec<_> = namespaces.iter().map(Row::from).collect();
        table(&rows, width)
    }

    fn user() -> Namespace {
        Namespace {
            processes: 12,
            pid: Some(1),
            command: Some("init\n--x\u{1b}".into()),
            owner_uid: Some(0),
            ..Namespace::new(Kind::User, 4_026_531_837)
        }
    }

    fn net() -> Namespace {
        Namespace {
            owner: Some(4_026_531_837),
            files: vec!["/run/netns/my lab".into(), "/run/b".into()],
            ..Namespace::new(Kind::Net, 4_026_532_177)
        }
    }

    #[test]
    fn columns_are_aligned_and_control_characters_escaped() {
        let expected = "\
KIND      INODE PROCS PID      OWNER PARENT MAKER COMMAND
user 4026531837    12   1          -      -     0 init\\n--x\\u{1b}
net  4026532177     0   - 4026531837      -     - kept on /run/netns/my lab, kept on /run/b
";
        assert_eq!(shown(&[user(), net()], None), expected);
    }

    #[test]
    fn a_namespace_with_both_processes_and_files_shows_both() {
        let both = Namespace { command: Some("sleep 9".into()), ..net() };
        let expected = "sleep 9, kept on /run/netns/my lab, kept on /run/b";
        assert_eq!(what(&both).as_deref(), Some(expected));
        assert_eq!(what(&Namespace::new(Kind::Pid, 1)), None);
    }

    #[test]
    fn the_fields_before_the_command_can_be_told_apart_by_spaces() {
        let text = shown(&[user(), net()], None);
        for line in text.lines() {
            assert!(line.split_whitespace().count() >= COLUMNS, "{line}");
        }
        assert!(text.lines().all(|line| line == line.trim_end()));
    }

    #[test]
    fn a_terminal_gets_what_fits() {
        assert!(shown(&[user(), net()], Some(40)).lines().all(|line| line.chars().count() <= 40));
        assert_eq!(cut("äöü", Some(2)), "äö");
        assert_eq!(cut("äöü", Some(3)), "äöü");
        assert_eq!(cut("äöü", None), "äöü");
    }
}
