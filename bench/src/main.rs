//! `bench`: how long the programs take, side by side with others that do the same. scripts/bench
//! builds what it needs and runs it.

mod contest;
mod groups;
mod inside;
mod report;
mod stats;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use contest::{Contestant, Group, race};
use report::{GroupReport, Line, Outcome, Report};

/// Time this project's programs side by side with others that do the same
///
/// Every round runs each contestant of a group once, in a new order. Who does not give the same box
/// is not counted.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
struct Args {
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    rounds: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// One more contestant, such as "old/ns-enter uts,pid,mnt,ipc --"; may be repeated
    #[arg(long, value_name = "COMMAND")]
    also: Vec<String>,
    /// Where the programs and the floor are
    #[arg(long, value_name = "DIR", hide = true)]
    programs: PathBuf,
    /// The groups to run; all if none is named
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Fails as well if a contestant of ours, or the one that the others are compared with, did not count.
fn run(args: &Args) -> Result<ExitCode, String> {
    let mut groups = groups::all(&args.programs);
    if let Some(unknown) = args.groups.iter().find(|name| groups.iter().all(|group| group.name != **name)) {
        let known: Vec<_> = groups.iter().map(|group| group.name).collect();
        return Err(format!("{unknown}: no such group; there are: {}", known.join(", ")));
    }
    groups.retain(|group| args.groups.is_empty() || args.groups.iter().any(|name| name == group.name));
    let rounds = args.rounds.try_into().map_err(|_| "too many rounds")?;
    let mut report = Report::of_this_machine(rounds);
    for group in &mut groups {
        for also in &args.also {
            let words = shell_words::split(also).map_err(|error| format!("--also {also}: {error}"))?;
            group.others.push(Contestant::new(also, words, group.reference.gives().clone()));
        }
        report.groups.push(measure(group, rounds)?);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        print!("{report}");
    }
    let all_count = report.groups.iter().flat_map(|group| &group.contestants).all(Line::counts);
    Ok(if all_count { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(group: &Group, rounds: usize) -> Result<GroupReport, String> {
    let failed = |error: String| format!("{}: {error}", group.name);
    group.reference.check().map_err(|why| failed(format!("{}: {why}", group.reference.name)))?;
    let checks: Vec<_> = group.contestants().map(Contestant::check).collect();
    let counting = group.contestants().zip(&checks).filter(|(_, check)| check.is_ok());
    let commands = counting.map(|(contestant, _)| contestant.with(&[group.command])).collect();
    let times = race(commands, rounds).map_err(|error| failed(error.to_string()))?;
    let mut measured = times.iter();
    let contestants = group
        .contestants()
        .zip(checks)
        .map(|(contestant, check)| Line {
            name: contestant.name.clone(),
            command: contestant.shown(group.command),
            result: match check {
                Ok(()) => measured.next().map_or_else(|| unreachable!(), |own| Outcome::of(own, &times[0])),
                Err(not_counted) => Outcome::NotCounted { not_counted },
            },
        })
        .collect();
    let Group { name, what, reference, .. } = group;
    Ok(GroupReport { name, what, reference: reference.name.clone(), contestants })
}
