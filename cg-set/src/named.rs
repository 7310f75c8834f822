//! Groups that stay: made, set, shown, filled with running processes, removed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use chain::{Error, Result};

use crate::{
    group::Group,
    hierarchy::{Hierarchies, Version},
    kill::KILL_TIME,
    limits, list,
    name::GroupName,
    process,
    room::Who,
    settings::Settings,
    show,
    turn::Turn,
    undo::Undo,
};

/// What to do with a named group when there is no command to run in it.
#[derive(Debug)]
pub(crate) enum Task {
    /// Make it if it is missing, set it, move processes in.
    Change { settings: Settings, pids: Vec<i32> },
    /// Print what holds for it, what it uses, and what runs in it.
    Show { json: bool },
    /// Remove it, after what runs in it was killed if that is asked for.
    Remove { kill: bool },
}

/// Does it, or with `dry_run` says what it would do.
pub(crate) fn carry_out(name: &GroupName, task: &Task, who: Who, dry_run: bool) -> Result<()> {
    let hierarchies = Hierarchies::read(who)?;
    match task {
        Task::Change { settings, pids } => {
            chain::undisturbed(|| change(&hierarchies, name, settings, pids, dry_run))
        }
        Task::Show { json } => {
            let group = existing(&hierarchies, name)?;
            let name = name.as_str();
            let text = if *json { show::json(name, group)? } else { show::table(name, group) };
            chain::print(&text).map(drop)
        }
        Task::Remove { kill } if dry_run => {
            to_remove(&hierarchies, name)?;
            let kill = kill.then(|| format!("kill what runs in the group {name}"));
            tell(kill.into_iter().chain([format!("remove the group {name}")]))
        }
        Task::Remove { kill } => chain::undisturbed(|| remove(&hierarchies, name, *kill)),
    }
}

/// Says what would be done.
fn tell(steps: impl Iterator<Item = String>) -> Result<()> {
    let text: String = steps.flat_map(|step| ["cg-set: ".to_owned(), step, "\n".to_owned()]).collect();
    chain::print(&text).map(drop)
}

/// The trees as one sees them who is in the group `parent`, which must be there.
pub(crate) fn below(hierarchies: Hierarchies, parent: &GroupName) -> Result<Hierarchies> {
    existing(&hierarchies, parent)?;
    Ok(hierarchies.below(parent.as_str()))
}

/// Lists the groups below the named one, or below the caller's own.
pub(crate) fn list(name: Option<&GroupName>, wish: list::Wish) -> Result<()> {
    let hierarchies = Hierarchies::read(Who::Own)?;
    if let Some(name) = name {
        existing(&hierarchies, name)?;
    }
    list::list(&hierarchies, name.map_or(".", GroupName::as_str), wish)
}

/// The group's directories that are there, that `settings` needs, or that are missing below a group above.
pub(crate) fn open(hierarchies: &Hierarchies, name: &GroupName, settings: &Settings) -> Result<Group> {
    let needed = limits::controllers(settings);
    let above = name.as_str().split('/').count() - 1;
    // Where a group above has a directory in a tree of v1 it gets one too, so that what is set there holds for it.
    let is_there = |version, dir: &Path| match version {
        Version::V1 => dir.ancestors().nth(above).is_some_and(Path::is_dir),
        Version::V2 => dir.is_dir(),
    };
    let wanted = |tree: &str, version, dir: &Path| needed.contains(tree) || is_there(version, dir);
    let group = Group::new(hierarchies, name.as_str(), wanted);
    if group.is_empty() { Err(missing(name)) } else { Ok(group) }
}

pub(crate) fn existing(hierarchies: &Hierarchies, name: &GroupName) -> Result<Group> {
    let group = Group::existing(hierarchies, name.as_str());
    if group.is_empty() { Err(missing(name)) } else { Ok(group) }
}

fn to_remove(hierarchies: &Hierarchies, name: &GroupName) -> Result<Group> {
    existing(hierarchies, name).map_err(|error| error.hint(""))
}

/// The group's directories, and the turn to remove them.
fn take(hierarchies: &Hierarchies, name: &GroupName) -> Result<(Group, Turn)> {
    loop {
        let group = to_remove(hierarchies, name)?;
        let turn = group.take()?;
        // Who had it before may have made some, or removed them.
        if to_remove(hierarchies, name)?.has_the_dirs_of(&group) {
            return Ok((group, turn));
        }
    }
}

fn missing(name: &GroupName) -> Error {
    Error::new(format!("group {name}"), "there is none of this name below the caller's own")
        .hint(format!("make it with a setting, such as cg-set --name {name} mem=max"))
}

fn change(
    hierarchies: &Hierarchies,
    name: &GroupName,
    settings: &Settings,
    pids: &[i32],
    dry_run: bool,
) -> Result<()> {
    let given = settings;
    let settings = &limits::resolve(given, hierarchies, Some(name))?;
    if limits::ends_whole_group(settings, hierarchies) {
        return Err(Error::new(
            "oom.group=1",
            "on cgroup v1 this is done by the cg-set that waits for a command",
        )
        .hint("give it with the command"));
    }
    let mut group = open(hierarchies, name, settings)?;
    pids.iter().try_for_each(|pid| process::check(*pid))?;
    if dry_run {
        let set = settings.words().into_iter().map(|word| format!("set {}", word.display()));
        let moves = pids.iter().map(|pid| format!("move process {pid} into the group {name}"));
        return tell([format!("make the group {name} if it is missing")].into_iter().chain(set).chain(moves));
    }
    // After a failure only what was not there before goes; why the change failed matters more than that.
    let unmake = |group: &Group| drop(group.unmake());
    let _turn = group.make_and_take().inspect_err(|_| unmake(&group))?;
    // What it is completed with may be another's, who had the turn before.
    let settings = &limits::resolve(given, hierarchies, Some(name)).inspect_err(|_| unmake(&group))?;
    let undo = Undo::before(settings, &group);
    if !pids.is_empty() {
        group.check_for_processes().inspect_err(|_| unmake(&group))?;
    }
    let changed =
        limits::apply(settings, &group).and_then(|()| group.gather()).and_then(|()| group.move_in(pids));
    changed.inspect_err(|_| {
        undo.undo(&group);
        unmake(&group);
    })
}

fn remove(hierarchies: &Hierarchies, name: &GroupName, kill: bool) -> Result<()> {
    let (group, _turn) = take(hierarchies, name)?;
    let end = Instant::now() + KILL_TIME;
    let _claims = loop {
        if kill {
            group.kill_all()?;
        }
        if let Some((below, count)) = group.occupied() {
            return Err(occupied(name, &below, count));
        }
        match group.claim_below() {
            Ok(claims) => break claims,
            // The cg-set goes when its command is gone.
            Err(_) if kill && Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Err(below) => {
                let why = format!("a cg-set runs a command in {name}/{}", below.display());
                return Err(Error::new(format!("remove the group {name}"), why)
                    .hint("wait for its end, or add --kill"));
            }
        }
    };
    group.remove()
}

/// Why a group cannot be removed, which has so many processes in this one below it.
fn occupied(name: &GroupName, below: &Path, count: usize) -> Error {
    let (it, occupied) = if below.as_os_str().is_empty() {
        ("it".to_owned(), name.to_string())
    } else {
        let occupied = format!("{name}/{}", below.display());
        (format!("{occupied} below it"), occupied)
    };
    let (what, them) =
        if count == 1 { ("a process".into(), "it") } else { (format!("{count} processes"), "them") };
    Error::new(format!("remove the group {name}"), format!("{it} has {what}"))
        .hint(format!("cg-set --name {occupied} shows {them}"))
}
