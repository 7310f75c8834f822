//! `--list --json`: one object on one line, for programs.

use std::borrow::Cow;

use chain::Result;
use serde::Serialize;

use super::{Row, scan::Scan};

#[derive(Serialize)]
struct Listing<'a> {
    namespaces: Vec<Entry<'a>>,
    hidden_processes: usize,
}

/// What is not known or not there is null. Names that are not UTF-8 are shown as far as they are.
#[derive(Serialize)]
struct Entry<'a> {
    kind: &'a str,
    inode: u64,
    processes: usize,
    pid: Option<u32>,
    command: Option<&'a str>,
    owner: Option<u64>,
    parent: Option<u64>,
    owner_uid: Option<u32>,
    files: Vec<Cow<'a, str>>,
}

impl<'a> From<&Row<'a>> for Entry<'a> {
    fn from(row: &Row<'a>) -> Self {
        let namespace = row.namespace;
        Self {
            kind: row.name,
            inode: namespace.inode,
            processes: namespace.processes,
            pid: namespace.pid,
            command: namespace.command.as_deref(),
            owner: namespace.owner,
            parent: namespace.parent,
            owner_uid: namespace.owner_uid,
            files: namespace.files.iter().map(|file| file.to_string_lossy()).collect(),
        }
    }
}

/// The rows as one line.
pub(super) fn json(rows: &[Row], scan: &Scan) -> Result<String> {
    let listing =
        Listing { namespaces: rows.iter().map(Entry::from).collect(), hidden_processes: scan.hidden };
    chain::json(&listing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kind::Kind, list::scan::Namespace};

    #[test]
    fn every_field_is_there_on_one_line() {
        let namespace = Namespace {
            processes: 1,
            pid: Some(9),
            command: Some("a\n\"b\"".into()),
            files: vec!["/run/netns/lab".into()],
            owner: Some(4_026_531_837),
            ..Namespace::new(Kind::Net, 4_026_532_177)
        };
        let scan = Scan { namespaces: vec![namespace], processes: 9, hidden: 8, unnamed: false };
        let rows: Vec<_> = scan.namespaces.iter().map(Row::from).collect();
        let expected = concat!(
            r#"{"namespaces":[{"kind":"net","inode":4026532177,"processes":1,"pid":9,"command":"a\n\"b\"","#,
            r#""owner":4026531837,"parent":null,"owner_uid":null,"files":["/run/netns/lab"]}],"#,
            r#""hidden_processes":8}"#,
            "\n"
        );
        assert_eq!(json(&rows, &scan).expect("JSON"), expected);
    }
}
