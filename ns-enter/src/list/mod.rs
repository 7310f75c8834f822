//! What namespaces there are: `--list` and `--tree`, by one scan of /proc (proc_pid_ns(5)).
//!
//! A namespace is found if a process that /proc shows has its first thread in it, if it is kept on a
//! file in the caller's mount namespace, or if it owns or encloses one of these. Processes that the
//! caller may not look at are counted, and said on stderr.
//!
//! | file | holds |
//! | --- | --- |
//! | `scan.rs` | the scan: plain data out |
//! | `process.rs`, `kept.rs` | where namespaces are found: at a process, on a file |
//! | `table.rs`, `json.rs`, `tree.rs` | how they are shown |

mod json;
mod kept;
mod process;
mod scan;
mod table;
mod tree;

use std::env;

use chain::{Result, table::width};
use nix::unistd::geteuid;

use scan::{Namespace, Scan, scan};
use tree::Strokes;

/// What `--list` is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The namespaces of this process only.
    pub(crate) pid: Option<u32>,
    /// As JSON.
    pub(crate) json: bool,
}

/// A line of `--list`.
struct Row<'a> {
    /// The kind, or for the namespace of a process's children the name of its file.
    name: &'static str,
    namespace: &'a Namespace,
}

impl<'a> From<&'a Namespace> for Row<'a> {
    fn from(namespace: &'a Namespace) -> Self {
        Self { name: namespace.kind.name(), namespace }
    }
}

/// `--list`: every namespace, or those of one process.
pub(crate) fn list(wish: &Wish) -> Result<()> {
    let own = wish.pid.map(process::own).transpose()?;
    let scan = scan(own.iter().flatten().map(|own| (own.kind, &own.file)))?;
    let rows: Vec<_> = match &own {
        None => scan.namespaces.iter().map(Row::from).collect(),
        Some(own) => own.iter().filter_map(|own| row_of(own, &scan)).collect(),
    };
    chain::print(&if wish.json { json::json(&rows, &scan)? } else { table::table(&rows, width()) })?;
    say_gaps("--list", &scan);
    Ok(())
}

fn row_of<'a>(own: &process::Own, scan: &'a Scan) -> Option<Row<'a>> {
    let key = (own.kind, own.inode);
    let at = scan.namespaces.binary_search_by_key(&key, |namespace| (namespace.kind, namespace.inode));
    at.ok().map(|at| Row { name: own.name, namespace: &scan.namespaces[at] })
}

/// `--tree`: how user and pid namespaces are nested.
pub(crate) fn tree() -> Result<()> {
    let scan = scan([])?;
    chain::print(&tree::tree(&scan.namespaces, Strokes::of_locale(&locale()), width()))?;
    say_gaps("--tree", &scan);
    Ok(())
}

fn say_gaps(option: &str, scan: &Scan) {
    if let Some(gaps) = gaps(scan, geteuid().is_root()) {
        chain::note("ns-enter", &format!("{option}: {gaps}"));
    }
}

/// What was not seen, why, and what to do about it.
fn gaps(scan: &Scan, root: bool) -> Option<String> {
    let what = match scan {
        Scan { hidden: 1.., .. } => {
            format!("{} of {} processes could not be looked at (permission)", scan.hidden, scan.processes)
        }
        Scan { unnamed: true, .. } => "/proc does not show the processes of others (hidepid)".into(),
        _ => return None,
    };
    let hint = if root {
        "a user namespace, a container or a security module can refuse it to root"
    } else {
        "run as root to see all"
    };
    Some(format!("{what}; {hint}"))
}

/// The locale that says how characters are written: the first of these that is set (locale(7)).
fn locale() -> String {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(hidden: usize, unnamed: bool) -> Scan {
        Scan { namespaces: Vec::new(), processes: 240, hidden, unnamed }
    }

    #[test]
    fn what_could_not_be_looked_at_is_counted() {
        let said = "231 of 240 processes could not be looked at (permission); run as root to see all";
        assert_eq!(gaps(&scan(231, false), false).as_deref(), Some(said));
        assert_eq!(gaps(&scan(0, false), false), None);
    }

    #[test]
    fn root_is_not_told_to_run_as_root() {
        assert!(!gaps(&scan(1, false), true).expect("a gap").contains("run as root"));
    }

    #[test]
    fn processes_that_are_not_even_named_are_a_gap() {
        assert!(gaps(&scan(0, true), false).expect("a gap").contains("hidepid"));
    }
}
