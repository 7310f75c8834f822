//! `--stat`: how many changes there are of each sort, and of how many bytes, for people.

use chain::table::{Column, Table};

use crate::changes::{Change, FileKind, Kind};

const NAMES: [(Kind, &str); 5] = [
    (Kind::Added, "added"),
    (Kind::Changed, "changed"),
    (Kind::Removed, "removed"),
    (Kind::Replaced, "replaced"),
    (Kind::Metadata, "metadata only"),
];

/// A line for each sort of change that there is, and one for all together.
pub(super) fn table(changes: &[Change]) -> String {
    let mut table = Table::new([Column::Right("PATHS"), Column::Right("BYTES"), Column::Left("CHANGE")]);
    let mut add = |name: &str, wanted: &dyn Fn(Kind) -> bool| {
        let found: Vec<_> = changes.iter().filter(|change| wanted(change.kind)).collect();
        let bytes: u64 = found.iter().map(|change| bytes(change)).sum();
        table.add([found.len().to_string(), bytes.to_string(), name.to_owned()]);
    };
    for (kind, name) in NAMES {
        if changes.iter().any(|change| change.kind == kind) {
            add(name, &|other| other == kind);
        }
    }
    add("all", &|_| true);
    table.text(None)
}

/// How much there is to read that was not there before.
fn bytes(change: &Change) -> u64 {
    let stat = &change.entry.stat;
    let has_content = matches!(change.kind, Kind::Added | Kind::Changed | Kind::Replaced);
    if has_content && stat.kind == FileKind::Regular && !change.entry.marks.metacopy { stat.size } else { 0 }
}
