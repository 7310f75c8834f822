//! `bench`: how long the programs take, side by side with others that do the same. scripts/bench
//! builds what it needs and runs it.

mod contest;
mod crowd;
mod groups;
mod growth;
mod inside;
mod picture;
mod report;
mod stage;
mod stats;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use contest::{Contestant, Group, race};
use report::{AddedLine, GroupReport, Line, Outcome, Report};
use stage::Need;

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
    /// The ratios are drawn into this file, as SVG
    #[arg(long, value_name = "FILE", hide = true)]
    picture: Option<PathBuf>,
    /// Where the programs and the floors are
    #[arg(long, value_name = "DIR", hide = true)]
    programs: PathBuf,
    /// A root filesystem with a shell and /bin/true
    #[arg(long, value_name = "DIR", hide = true)]
    rootfs: PathBuf,
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
    let mut groups = groups::all(&args.programs, &args.rootfs);
    let known: Vec<_> = groups.iter().map(|group| group.name).chain(crowd::NAMES).collect();
    if let Some(unknown) = args.groups.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("{unknown}: no such group; there are: {}", known.join(", ")));
    }
    let is_wanted = |group: &str| args.groups.is_empty() || args.groups.iter().any(|name| name == group);
    groups.retain(|group| is_wanted(group.name));
    let rounds = args.rounds.try_into().map_err(|_| "too many rounds")?;
    let mut report = Report::of_this_machine(rounds);
    for group in &mut groups {
        for also in &args.also {
            let words = shell_words::split(also).map_err(|error| format!("--also {also}: {error}"))?;
            group.others.push(Contestant::new(also, words, group.reference.gives().clone()));
        }
        report.groups.push(measure(group, rounds)?);
    }
    report.groups.extend(crowd::measure(&args.programs, &args.rootfs, rounds, is_wanted)?);
    if let Some(file) = &args.picture {
        picture::draw(&report, file)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        print!("{report}");
    }
    let wrong = report.groups.iter().flat_map(|group| &group.contestants).any(Line::is_not_counted);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(group: &Group, rounds: usize) -> Result<GroupReport, String> {
    let failed = |error: String| format!("{}: {error}", group.name);
    let no_reference = group.reference.missing();
    let set = |need: &Need| need.set().map_err(|error| failed(format!("{need:?}: {error}")));
    let _stage: Vec<_> = group.needs.iter().map(set).collect::<Result<_, _>>()?;
    let checks: Vec<_> = group.contestants().map(|contestant| check(contestant, no_reference)).collect();
    if let (Err(Outcome::NotCounted { not_counted }), name) = (&checks[0], &group.reference.name) {
        return Err(failed(format!("{name}: {not_counted}")));
    }
    let counted =
        || group.contestants().zip(&checks).filter(|(_, check)| check.is_ok()).map(|(counted, _)| counted);
    let names: Vec<_> = counted().map(|contestant| contestant.name.as_str()).collect();
    let commands = counted().map(|contestant| contestant.with(&[group.command])).collect();
    let times = race(commands, (rounds / group.slower).max(3)).map_err(|error| failed(error.to_string()))?;
    let per_box = |(times, contestant): (Vec<f64>, &Contestant)| {
        times.into_iter().map(|time| time / contestant.boxes()).collect::<Vec<_>>()
    };
    let times: Vec<_> = times.into_iter().zip(counted()).map(per_box).collect();
    let times_of =
        |name: &str| names.iter().position(|measured| *measured == name).map(|at| times[at].as_slice());
    let mut measured = times.iter();
    let contestants = group
        .contestants()
        .zip(checks)
        .map(|(contestant, check)| Line {
            name: contestant.name.clone(),
            command: contestant.shown(group.command),
            result: match check {
                Ok(()) => measured.next().map_or_else(|| unreachable!(), |own| Outcome::of(own, &times[0])),
                Err(outcome) => outcome,
            },
        })
        .collect();
    let Group { name, what, reference, .. } = group;
    let added = group.added.iter().filter_map(|added| AddedLine::of(added, times_of)).collect();
    Ok(GroupReport { name, what, unit: "us", reference: reference.name.clone(), contestants, added })
}

/// Why a contestant is not measured: it is not if there is none to compare it with.
fn check(contestant: &Contestant, no_reference: Option<&'static str>) -> Result<(), Outcome> {
    if let Some(not_here) = no_reference.or(contestant.missing()) {
        return Err(Outcome::NotHere { not_here });
    }
    contestant.check().map_err(|not_counted| Outcome::NotCounted { not_counted })
}
