//! What is told of a link when NEXT has ended: `--report` for programs, `--stat` for people.

use chain::table::{Column, Table};

use crate::{lane::Counts, message::Member};

/// The columns of a direction.
const COLUMNS: [Column; 11] = [
    Column::Left("DIRECTION"),
    Column::Right("PACKETS"),
    Column::Right("BYTES"),
    Column::Right("LOST"),
    Column::Right("OVERFLOWED"),
    Column::Right("CUT"),
    Column::Right("REFUSED"),
    Column::Right("DELAYED"),
    Column::Right("DUPLICATED"),
    Column::Right("CORRUPTED"),
    Column::Right("REORDERED"),
];

fn cells(direction: &str, counts: &Counts) -> [String; 11] {
    let Counts { packets, bytes, lost, overflowed, cut, refused, delayed, duplicated, corrupted, reordered } =
        counts;
    let numbers: [&dyn std::fmt::Display; 10] =
        [packets, bytes, lost, overflowed, cut, refused, delayed, duplicated, corrupted, reordered];
    std::array::from_fn(|at| if at == 0 { direction.to_owned() } else { numbers[at - 1].to_string() })
}

/// A table of both directions.
pub(crate) fn table(member: &Member) -> String {
    let mut table = Table::new(COLUMNS);
    table.add(cells("sent", &member.passed.sent));
    table.add(cells("received", &member.passed.received));
    table.text(None)
}

/// A table of all boxes of a LAN.
pub(crate) fn members(members: &[Member]) -> String {
    let mut table = Table::new([
        Column::Left("NAME"),
        Column::Left("ADDRESS"),
        Column::Right("PID"),
        Column::Right("SENT"),
        Column::Right("RECEIVED"),
        Column::Right("LOST"),
        Column::Right("PART"),
        Column::Left("LINK"),
    ]);
    for member in members {
        let Counts { packets: sent, lost, .. } = member.passed.sent;
        let Counts { packets: received, lost: missed, .. } = member.passed.received;
        let link = if member.link.is_empty() { "up".to_owned() } else { member.link.join(" ") };
        table.add([
            member.name.clone().unwrap_or_else(|| "-".into()),
            member.addresses.join(","),
            member.pid.to_string(),
            sent.to_string(),
            received.to_string(),
            (lost + missed).to_string(),
            member.part.map_or_else(|| "-".into(), |part| part.to_string()),
            link,
        ]);
    }
    table.text(chain::table::width())
}
