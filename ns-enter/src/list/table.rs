//! The text of `--list`: aligned columns, of which only the last holds spaces.

use chain::{
    one_line,
    table::{Column, Table, or_dash},
};

use super::{Row, scan::Namespace};

/// As in JSON, but MAKER is the uid of who made a user namespace.
const COLUMNS: [Column; 8] = [
    Column::Left("KIND"),
    Column::Right("INODE"),
    Column::Right("PROCS"),
    Column::Right("PID"),
    Column::Right("OWNER"),
    Column::Right("PARENT"),
    Column::Right("MAKER"),
    Column::Left("COMMAND"),
];

/// A header and a line for each row, cut to `width` if there is one.
pub(super) fn table(rows: &[Row], width: Option<usize>) -> String {
    let mut table = Table::new(COLUMNS);
    for row in rows {
        let namespace = row.namespace;
        table.add([
            row.name.to_owned(),
            namespace.inode.to_string(),
            namespace.processes.to_string(),
            or_dash(namespace.pid),
            or_dash(namespace.owner),
            or_dash(namespace.parent),
            or_dash(namespace.owner_uid),
            or_dash(what(namespace)),
        ]);
    }
    table.text(width)
}

/// What is in the namespace and what keeps it, as one line: `sleep 9, kept on /run/netns/lab`.
pub(super) fn what(namespace: &Namespace) -> Option<String> {
    let command = namespace.command.clone();
    let files = namespace.files.iter().map(|file| format!("kept on {}", file.display()));
    let parts: Vec<_> = command.into_iter().chain(files).collect();
    (!parts.is_empty()).then(|| one_line(&parts.join(", ")))
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
            assert!(line.split_whitespace().count() >= COLUMNS.len(), "{line}");
        }
        assert!(text.lines().all(|line| line == line.trim_end()));
    }
}
