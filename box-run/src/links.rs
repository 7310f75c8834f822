//! The links of a box, with what it has unless something else is said.

use std::{ffi::OsStr, path::PathBuf};

use cg_set::{CgSet, Settings};
use chain::{Error, Links, Result};
use ns_enter::{Kind, Made, Namespaces, NsEnter, Want};
use ovl_mount::{Changes, Layers, OvlMount};
use priv_drop::{PrivDrop, Seccomp};
use root_enter::{Details, Entries, Entry, RootEnter};

use crate::{
    Args, check,
    modes::{self, Shown},
    network, owner, place,
    presets::Preset,
    privileges,
};

/// Processes and threads at once.
pub(crate) const PIDS: &str = "1024";
/// The permissions that files are made without.
const UMASK: u32 = 0o022;

/// The links of the box, outermost first: the group, so that it holds all that follows; the namespaces; what leads out
/// of them, which in a chain comes before all; the tree; the switch into it; and what the command alone is without.
/// And what is shown of the host's tree, if it is that.
pub(crate) fn of(args: &Args, for_chain: bool) -> Result<(Links, Option<Shown>)> {
    let mut links: Links = Vec::new();
    let (group, by_namespace) = counting(args)?;
    if !for_chain {
        check_preset(args)?;
    }
    links.extend(group.map(|group| Box::new(group) as _));
    let inner = links.len();
    let mut details = args.details.clone();
    details.umask.get_or_insert(UMASK);
    let lower = args.layers.directories()?;
    let changes = changes(args);
    let is_host = lower.is_empty();
    let (network, wanted) = network::of(args, namespaces(args)?)?;
    let (mut wanted, owners) = owner::map(args, wanted, is_host)?;
    let mut needs_mounts = owners.is_some();
    if for_chain {
        check_printable(args, &args.entries, &details)?;
    }
    let typed = owner::shown(&args.entries.0, owners.as_ref(), is_new(&wanted, Kind::User))?;
    let (place, entries, shown) = if is_host {
        let tree = modes::tree(&args.modes, &changes, &args.allow, &mut details)?;
        needs_mounts = tree.over.is_empty() && is_new(&wanted, Kind::User);
        for (dir, changes) in tree.over {
            links.push(Box::new(OvlMount::over(dir, changes, args.mount.clone()).by_fuse(args.layers.fuse)));
        }
        let entries = tree.entries.into_iter().chain(typed).collect();
        (PathBuf::from("/"), Entries(entries), Some(tree.shown))
    } else {
        args.modes.refuse_with_root()?;
        let layers = Layers { lower, changes, options: args.mount.clone(), owners: owners.clone() };
        let place = place::choose(&layers, &args.entries)?;
        links.push(Box::new(OvlMount::new(layers, place.clone()).by_fuse(args.layers.fuse)));
        let mut entries = Entries(typed);
        if for_chain && owners.is_some() {
            links.extend(owner::laid_out(&mut entries, &place)?.map(|outside| Box::new(outside) as _));
        }
        (place, entries, None)
    };
    if for_chain {
        // root-enter runs the next tool from a mount of its own, which may be made in a user namespace only if the mount
        // namespace is of it too.
        if needs_mounts {
            wanted = wanted.with_new(Kind::Mnt);
        }
        // The next tool is the host's.
        details.host_next = true;
    }
    let mut details_made = args.made.clone();
    let (front, link, wanted) = match network {
        Some(link) if for_chain => {
            let (front, rest) = network::in_front(link, wanted, &mut details_made, owners.is_some())?;
            (front, None, rest)
        }
        link => (Links::new(), link, wanted),
    };
    let mut inside: Links = vec![Box::new(made(args, wanted, details_made)?)];
    // What it mounts is a user's of the namespaces that are there by then.
    inside.extend(link.map(|link| Box::new(link) as _));
    // Who is in a user namespace may map nothing of the host.
    let at = if owners.is_some() { links.len() } else { inner };
    links.splice(at..at, inside);
    links.splice(0..0, front);
    let root = RootEnter::new(place, entries).with(details);
    links.push(Box::new(if owners.is_some() { root.with_binds_from_outside() } else { root }));
    links.push(Box::new(PrivDrop::new(privileges::of(args, is_host, by_namespace)?)));
    Ok((links, shown))
}

/// The group with what the command is held to; and how many processes the user namespace is to count, where no
/// group may be made, and none was asked for, or one without this limit.
fn counting(args: &Args) -> Result<(Option<CgSet>, Option<&'static str>)> {
    let limits = &args.limits.0;
    let pids = |value| Settings::value_of("pids")(value).map_err(|why| Error::new("pids", why));
    let group = |limits: &Settings| Some(CgSet::transient(limits.clone()).told(args.account.clone()));
    let is_asked_for = args.account.is_wanted() || !limits.is_empty();
    if limits.has("pids") {
        let is_no_limit = *limits == Settings::default().with("pids", Some(pids("max")?));
        return Ok((if is_no_limit && !args.account.is_wanted() { None } else { group(limits) }, None));
    }
    let most = args.expand.preset.map_or(PIDS, Preset::pids);
    let usual = limits.clone().with("pids", Some(pids(most)?));
    if cg_set::can_limit(&usual) {
        return Ok((group(&usual), None));
    }
    if !chain::counts_processes() {
        let why = "no group may be made, and the kernel counts no processes of root by themselves";
        return Err(Error::new(format!("--pids {most}"), why).hint(
            "make the cgroup of this process one that may be written, or add --pids max: the limits of this process are the box's too",
        ));
    }
    Ok((if is_asked_for { group(limits) } else { None }, Some(most)))
}

/// Fails if a preset limits what only a group does, and none may be made: who typed one word is told which.
fn check_preset(args: &Args) -> Result<()> {
    let Some(preset) = args.expand.preset else { return Ok(()) };
    let limits = &args.limits.0;
    if limits.is_empty() || cg_set::can_limit(limits) {
        return Ok(());
    }
    let limits: Vec<_> = limits.words().iter().map(|word| word.display().to_string()).collect();
    let limits = limits.join(" ");
    let why = format!("it needs a group for {limits}, and none may be made");
    Err(Error::new(format!("--preset {}", preset.name()), why)
        .hint(format!("run as root, or in a group that is delegated to you{}", check::TELLS)))
}

/// The mount namespace is made by those who mount.
fn namespaces(args: &Args) -> Result<Namespaces> {
    let mut wanted = args.namespaces.ns.clone().unwrap_or_default();
    if let Some(name) = &args.namespaces.hostname {
        if wanted.hostname.is_some() {
            return Err(Error::new("--hostname, --ns uts=", "two host names"));
        }
        wanted.hostname = Some(ns_enter::hostname(name)?);
    }
    if wanted.wanted.iter().any(|(kind, _)| *kind == Kind::Mnt) {
        return Err(Error::new("--ns mnt", "the box makes its own").hint("leave it out"));
    }
    if let Some(all @ Want::Join(_)) = &wanted.all {
        let word = Namespaces { all: Some(all.clone()), ..Namespaces::default() }.word();
        let why = "those of mounts and of processes, which the box makes itself, are among them";
        return Err(Error::new(format!("--ns {}", word.display()), why)
            .hint("name those that it is to join, such as net@PID"));
    }
    let usual = [
        (Kind::Uts, true),
        (Kind::Ipc, !args.allow.allow_ipc),
        (Kind::Net, !args.allow.allow_net),
        (Kind::Pid, true),
        (Kind::Cgroup, !args.allow.allow_cgroup),
        (Kind::User, !priv_drop::is_admin()),
    ];
    for (kind, _) in usual.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        if wanted.all.is_none() && !wanted.wanted.iter().any(|(other, _)| *other == kind) {
            wanted = wanted.with_new(kind);
        }
    }
    Ok(wanted)
}

fn made(args: &Args, wanted: Namespaces, made: Made) -> Result<NsEnter> {
    let init = !args.namespaces.no_init && is_new(&wanted, Kind::Pid);
    let mut supervision = args.supervision.clone();
    if let Some(name) = &args.namespaces.name {
        name.check_free()?;
        supervision.pid_file = Some(name.file()?);
    }
    // The new root gets its own.
    let no_proc = wanted.is_new(Kind::Mnt);
    let details = ns_enter::Details { made, supervision, init, no_proc, ..ns_enter::Details::default() };
    Ok(NsEnter::new(wanted).with(details))
}

fn is_new(namespaces: &Namespaces, kind: Kind) -> bool {
    match namespaces.wanted.iter().find(|(other, _)| *other == kind) {
        Some((_, want)) => *want == Want::New,
        None => namespaces.all == Some(Want::New),
    }
}

fn changes(args: &Args) -> Changes {
    match (&args.layers.upper, args.layers.tmp) {
        (Some(upper), _) => Changes::Upper { upper: upper.clone(), work: args.layers.work.clone() },
        (None, Some(size)) => Changes::Tmp { size },
        (None, None) => Changes::ReadOnly,
    }
}

/// What the caller has open reaches this program, but not the last tool of a chain: each closes it, and each that
/// mounts makes a mount namespace, which it is not of. A program of the host is opened by the last but one. And a
/// profile is read by the last, in a root that may have another one under this name.
fn check_printable(args: &Args, entries: &Entries, details: &Details) -> Result<()> {
    if let Some(Seccomp::File(path)) = &args.privileges.seccomp {
        let why = "the last tool of the chain would read it from the new root";
        return Err(Error::new(format!("--print --seccomp {}", path.display()), why)
            .hint("use default or strict, or leave out --print"));
    }
    if details.host_next {
        return Err(Error::new("--print -H", "the last tool of the chain has no such option")
            .hint("bind the program into the box, or leave out --print"));
    }
    match entries.0.iter().find_map(Entry::descriptor) {
        Some(number) => {
            Err(Error::new(format!("--print: descriptor {number}"), "the tools of a chain do not pass it on")
                .hint("name a path, or leave out --print"))
        }
        None => Ok(()),
    }
}

/// The value of a variable of the caller that is a path from the root on.
pub(crate) fn absolute(variable: impl AsRef<OsStr>) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
