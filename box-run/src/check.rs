//! `--check`: what this machine and this user can have, and what to do about what is missing. What can be tried is
//! tried, as this program, and not guessed from versions and settings.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use cg_set::Settings;
use chain::{
    Doing, Result,
    mount::{Attributes, MountAttrFlags, copy_tree},
    table::{Column, Table},
};
use nix::unistd::geteuid;
use serde::Serialize;

use crate::{owner, privileges};

/// One thing that a box may need.
#[derive(Debug, Serialize)]
struct Line {
    what: &'static str,
    has: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// What an error that this table explains ends with.
pub(crate) const TELLS: &str = "; box-run --check tells what this user can have";

/// Each by its name.
const PRESETS: [(&str, &str); 4] = [
    ("preset grader", "grader"),
    ("preset build", "build"),
    ("preset service", "service"),
    ("preset agent", "agent"),
];

/// Prints the table; 0 if the box can be made that is made without any option, else 1.
pub(crate) fn check(json: bool) -> Result<u8> {
    let lines = lines()?;
    let text = if json { chain::json(&lines)? } else { table(&lines) };
    chain::print(&text)?;
    Ok(u8::from(!lines.first().is_some_and(|line| line.has)))
}

fn table(lines: &[Line]) -> String {
    let mut table = Table::new([Column::Left("WHAT"), Column::Left("HERE"), Column::Left("DETAIL")]);
    for line in lines {
        let here = if line.has { "yes" } else { "no" };
        let told =
            [Some(line.detail.as_str()), line.remedy.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        table.add([line.what.into(), here.into(), told.join("; ")]);
    }
    table.text(None)
}

fn lines() -> Result<Vec<Line>> {
    let mut lines = vec![
        tried("default box", "the host's tree, read-only", &["--chdir", "/"])?,
        tried("overlay", "changes in memory over /usr", &["--chdir", "/", "--over", "/usr"])?,
        tried("user namespaces", "they can be made", &["--chdir", "/", "--ns", "user"])?,
    ];
    lines.extend(["mem", "swap", "cpu", "pids", "io.weight", "cpus"].map(limit));
    for (what, preset) in PRESETS {
        lines.push(tried(what, "it can be made", &["--chdir", "/", "--preset", preset])?);
    }
    lines.push(landlock());
    lines.push(seccomp());
    lines.push(id_mapped());
    if privileges::is_admin_of_machine() {
        lines.push(root_of_boxes());
    }
    lines.push(subordinate_ids());
    lines.push(program(
        "fuse-overlayfs",
        "overlays where the kernel makes none for this user",
        "fuse-overlayfs",
    ));
    lines.push(modules("netem", &["sch_netem", "sch_tbf"], "a network link that fails, by the kernel"));
    Ok(lines)
}

/// Makes such a box, and tells what the error was.
fn tried(what: &'static str, detail: &str, options: &[&str]) -> Result<Line> {
    let mut own = Command::new("/proc/self/exe");
    own.args(options).args(["--", "sh", "-c", ":"]).stdin(Stdio::null());
    let run = own.output().doing(|| format!("try {what}"))?;
    let error = String::from_utf8_lossy(&run.stderr).trim().to_owned();
    let error = error.strip_prefix("/proc/self/exe: ").or(error.strip_prefix("box-run: ")).unwrap_or(&error);
    let error = error.strip_suffix(TELLS).unwrap_or(error);
    let has = run.status.success();
    Ok(Line { what, has, detail: if has { detail.into() } else { error.into() }, remedy: None })
}

/// Whether a group may be made that limits this.
fn limit(setting: &'static str) -> Line {
    let value = match setting {
        "io.weight" => "100",
        "cpus" => "0",
        _ => "max",
    };
    let parsed = Settings::value_of(setting)(value).ok();
    let has = cg_set::can_limit(&Settings::default().with(setting, parsed));
    let version = cg_set::version_of(setting).map(|version| format!("cgroup v{version}"));
    let remedy = match &version {
        None => "mount the controller, or boot with it enabled",
        Some(_) => "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes",
    };
    let detail = version.unwrap_or_else(|| "the controller is not mounted here".into());
    let detail = if has { detail } else { format!("{detail}, no group may be made") };
    Line { what: setting, has, detail, remedy: (!has).then(|| remedy.into()) }
}

fn landlock() -> Line {
    // What priv-drop --landlock needs.
    const NEEDED: u32 = 6;
    let version = priv_drop::landlock_version();
    let has = version.is_some_and(|version| version >= NEEDED);
    let detail = match version {
        Some(version) => format!("ABI {version}"),
        None => "the kernel has none, or it is not switched on".into(),
    };
    let remedy =
        (!has).then(|| format!("ABI {NEEDED}, Linux 6.12 with lsm=landlock, is needed, or --try-landlock"));
    Line { what: "landlock", has, detail, remedy }
}

fn seccomp() -> Line {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let has = actions.split_whitespace().any(|action| action == "errno");
    let remedy = (!has).then(|| "a kernel with CONFIG_SECCOMP_FILTER is needed, or --seccomp none".into());
    Line { what: "seccomp", has, detail: "filters of system calls".into(), remedy }
}

/// Tried with a mount of the root that nobody sees.
fn id_mapped() -> Line {
    let try_it = || -> Result<()> {
        let map = chain::IdMap(vec![[0, 1, 1]]).namespace()?;
        let tree = copy_tree(Path::new("/"), false)?;
        let id_map = Some(std::os::fd::AsFd::as_fd(&map));
        let wanted = Attributes { set: MountAttrFlags::empty(), id_map, ..Attributes::default() };
        wanted.apply(&tree, false).doing(|| "map the root".into())
    };
    let (has, detail) = match try_it() {
        Ok(()) => (true, "binds with idmap=, of the root's filesystem".into()),
        Err(error) => (false, error.to_string()),
    };
    let remedy = (!has && !geteuid().is_root()).then(|| "only root maps them".into());
    Line { what: "idmapped mounts", has, detail, remedy }
}

/// Ranges for `--ns user=auto`.
fn subordinate_ids() -> Line {
    let user = ns_enter::user_name(geteuid().as_raw());
    let own = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let names = [user.clone().unwrap_or_default(), geteuid().to_string()];
        text.lines().any(|line| names.iter().any(|name| line.split(':').next() == Some(name)))
    };
    let has = own("/etc/subuid") && own("/etc/subgid") && found("newuidmap");
    let remedy = (!has).then(|| "usermod --add-subuids and --add-subgids, and install uidmap".into());
    Line { what: "subordinate ids", has, detail: "ranges for --ns user=auto".into(), remedy }
}

/// Ids for root in boxes of root's.
fn root_of_boxes() -> Line {
    let (has, detail) = match owner::ids() {
        Ok(Some(range)) => (true, format!("with --root it is {} outside", range.outside)),
        Ok(None) => (false, "/etc/subuid has no line for root, so it is the machine's root".into()),
        Err(error) => (false, error.to_string()),
    };
    let give = |first: u32| {
        let last = first + (owner::IDS - 1);
        format!("usermod --add-subuids {first}-{last} --add-subgids {first}-{last} root")
    };
    let remedy = (!has).then(|| ns_enter::range_to_give(owner::IDS).ok().flatten().map(give)).flatten();
    Line { what: "root of boxes", has, detail, remedy }
}

fn program(what: &'static str, detail: &str, program: &str) -> Line {
    let has = found(program);
    Line { what, has, detail: detail.into(), remedy: (!has).then(|| format!("install {program}")) }
}

fn found(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(program).is_file())
}

/// Whether the kernel has them, built in or as modules.
fn modules(what: &'static str, names: &[&str], detail: &str) -> Line {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lists = ["modules.builtin", "modules.dep"].map(|list| {
        fs::read_to_string(format!("/lib/modules/{}/{list}", release.trim())).unwrap_or_default()
    });
    let lacks = |name: &&&str| {
        let is_listed = |list: &String| list.contains(&format!("/{name}.ko"));
        !Path::new("/sys/module").join(name).exists() && !lists.iter().any(is_listed)
    };
    let missing: Vec<&str> = names.iter().filter(lacks).copied().collect();
    let has = missing.is_empty();
    let remedy = (!has).then(|| format!("a kernel with {} is needed", missing.join(" and ")));
    Line { what, has, detail: detail.into(), remedy }
}
