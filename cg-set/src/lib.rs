//! cgroup limits as a link of a chain: a group for NEXT alone that is gone after it, or a named one
//! that stays (cgroups(7)). Each controller is set where it is: on cgroup v1, on v2, or some on one and
//! some on the other.

mod alarm;
mod args;
mod dead;
mod device;
mod devices;
mod each;
mod gather;
mod group;
mod hierarchy;
mod hits;
mod hugetlb;
mod human;
mod io;
mod io_weight;
mod joined;
mod kill;
mod limits;
mod list;
mod lock;
mod misc;
mod name;
mod named;
mod oom;
mod options;
mod process;
mod rdma;
mod report;
mod room;
mod settings;
mod show;
mod turn;
mod undo;
mod usage;
mod v1;
mod v2;
mod value;

pub use args::Args;
pub use device::Device;
pub use devices::Devices;
pub use each::Each;
pub use io_weight::Weights;
pub use joined::Joined;
pub use name::GroupName;
pub use options::Limits;
pub use rdma::Adapter;
pub use report::Account;
pub use settings::Settings;
pub use value::{Amount, Cores, Count, Percent, Value};

use std::{ffi::OsString, fs::File, io::Write, os::fd::BorrowedFd, time::Instant};

use chain::{Birth, Doing, Ended, Ending, Error, Launch, Link, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use alarm::Alarm;
use group::Group;
use hierarchy::{Hierarchies, Version};
use room::{Helper, Who};
use undo::Undo;
use usage::{MEASURED, Used};

/// Whether the caller may make a group with these settings, as far as can be told without making it: an ordinary
/// user may where a group was delegated to it.
pub fn can_limit(settings: &Settings) -> bool {
    let Ok(hierarchies) = Hierarchies::read(Who::Own) else { return false };
    // Where processor time is counted by its own controller, there is none for that.
    let is_there = |controller: &&String| *controller != "cpuacct" || hierarchies.place(controller).is_some();
    limits::controllers(settings)
        .iter()
        .filter(is_there)
        .all(|controller| may_make_in(&hierarchies, controller))
}

/// Whether the caller may make a group in the tree of a controller.
fn may_make_in(hierarchies: &Hierarchies, controller: &str) -> bool {
    let may_write = |dir| accessat(CWD, dir, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    hierarchies.place(controller).is_some_and(|(_, own)| may_write(hierarchies.nearest(own)))
}

/// Which version of cgroups has the controller of a setting here, 1 or 2.
pub fn version_of(setting: &str) -> Option<u8> {
    let controller = Settings::controller_of(setting)?;
    let hierarchies = Hierarchies::read(Who::Own).ok()?;
    hierarchies.place(controller).map(|(version, _)| if version == Version::V1 { 1 } else { 2 })
}

/// NEXT held to limits.
#[derive(Debug)]
pub struct CgSet {
    settings: Settings,
    /// The same with numbers for percentages.
    resolved: Settings,
    name: Option<GroupName>,
    /// The group below which a transient one is made, if it is not the caller's own.
    parent: Option<GroupName>,
    moving: Who,
    hierarchies: Option<Hierarchies>,
    /// The group's name below the caller's own.
    group_name: String,
    group: Group,
    undo: Option<Undo>,
    doors: Vec<File>,
    before: hits::Before,
    alarm: Option<Alarm>,
    helper: Option<Helper>,
    account: Account,
    open: report::Open,
    used_before: Used,
    started: Option<Instant>,
}

impl CgSet {
    /// A group for NEXT alone, removed after it with everything that still runs in it.
    pub fn transient(settings: Settings) -> Self {
        Self {
            resolved: settings.clone(),
            settings,
            name: None,
            parent: None,
            moving: Who::Own,
            hierarchies: None,
            group_name: String::new(),
            group: Group::default(),
            undo: None,
            doors: Vec::new(),
            before: hits::Before::default(),
            alarm: None,
            helper: None,
            account: Account::default(),
            open: report::Open::default(),
            used_before: Used::default(),
            started: None,
        }
    }

    /// A group that stays: made if it is missing, set, and joined by NEXT.
    pub fn named(name: GroupName, settings: Settings) -> Self {
        Self { name: Some(name), ..Self::transient(settings) }
    }

    /// A transient group is made below this one, which stays.
    #[must_use]
    pub(crate) fn below(mut self, parent: Option<GroupName>) -> Self {
        self.parent = parent;
        self
    }

    /// Whose processes may be moved out of the way on v2.
    #[must_use]
    pub(crate) fn moving(mut self, who: Who) -> Self {
        self.moving = who;
        self
    }

    /// The same, with an account of what NEXT used.
    #[must_use]
    pub fn told(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Listens to those in the group who need room there, where it has to be made.
    fn listen(&self) -> Option<Helper> {
        let has_controllers = self.hierarchies.as_ref()?.all().any(|(_, version, _)| version == Version::V2);
        // In a transient group all are the command's.
        let who = if self.name.is_none() { Who::All } else { self.moving };
        self.group.v2().filter(|_| has_controllers).and_then(|dir| Helper::new(dir, who))
    }

    /// Takes back what a named group got for a NEXT that did not run, but for what others have set since, or count on.
    fn take_back(&self) -> Result<()> {
        let Some(undo) = &self.undo else { return Ok(()) };
        let _turn = self.group.take()?;
        if !self.group.processes_below().is_empty() {
            return Ok(());
        }
        let is_ours_alone = undo.is_as_written(&self.group);
        undo.undo(&self.group);
        if is_ours_alone { self.group.unmake() } else { Ok(()) }
    }

    /// What is told of NEXT, before what it left is killed, which can change the counters.
    fn tell(&mut self, ended: &Ended) -> Result<()> {
        let path = self.hierarchies.as_ref().and_then(|all| all.path("memory"));
        let path = path.map(|path| path.join(&self.group_name));
        hits::say(&mut self.before, &self.group, path.as_deref(), ended.next);
        let Some(started) = self.started else { return Ok(()) };
        let mut used = Used::read(&self.group).since(&self.used_before);
        if let Some(path) = &path {
            self.before.add_gone(&mut used, &self.group, path);
        }
        self.open.tell(ended, started, &used)
    }
}

/// Sets a group. What a failure leaves of a named one is taken back while it is our turn.
fn change(settings: &Settings, group: &Group, undo: &mut Option<Undo>) -> Result<()> {
    let applied = limits::apply(settings, group);
    let Some(of_named) = undo else { return applied };
    let changed = applied.and_then(|()| group.gather());
    if changed.is_ok() {
        of_named.is_written(group);
    } else {
        of_named.undo(group);
        *undo = None;
        drop(group.unmake());
    }
    changed
}

impl Link for CgSet {
    fn name(&self) -> &'static str {
        "cg-set"
    }

    fn words(&self) -> Vec<OsString> {
        let name = self.name.iter().flat_map(|name| ["--name".into(), name.as_str().into()]);
        let parent = self.parent.iter().flat_map(|parent| ["--parent".into(), parent.as_str().into()]);
        let moving = (self.moving == Who::All).then(|| "--move-self".into());
        let place = name.chain(parent).chain(moving);
        place.chain(self.account.words()).chain(self.settings.words()).collect()
    }

    fn steps(&self) -> Vec<String> {
        let mut steps = vec![match &self.name {
            None => match &self.parent {
                None => "make a group below the caller's own".to_owned(),
                Some(parent) => format!("make a group below {parent}"),
            },
            Some(name) => format!("make the group {name} if it is missing"),
        }];
        // What a percentage is of is known when all is prepared.
        for (key, value) in self.settings.given() {
            let resolved = self.resolved.get(key.name).filter(|resolved| *resolved != value);
            let is =
                resolved.map(|resolved| format!(", which is {}={resolved}", key.name)).unwrap_or_default();
            steps.push(format!("set {}={value}{is}", key.name));
        }
        steps.extend(self.settings.raw().iter().map(|raw| format!("set {}={}", raw.file, raw.value)));
        steps.push("move the command into the group".into());
        if self.name.is_none() {
            steps.push("after the command: kill what is left in the group, and remove it".into());
        }
        steps
    }

    fn begin(&mut self) -> Result<()> {
        self.open = self.account.open()?;
        Ok(())
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        launch.supervise();
        if self.name.is_none() && self.settings.get("freeze") == Some(&Value::Switch(true)) {
            return Err(Error::new("freeze=1", "the command would never run, and nobody could let it go on")
                .hint("freeze a named group"));
        }
        let hierarchies = Hierarchies::read(self.moving)?;
        let hierarchies = match &self.parent {
            None => hierarchies,
            Some(parent) => named::below(hierarchies, parent)?,
        };
        self.resolved = limits::resolve(&self.settings, &hierarchies, self.name.as_ref())?;
        if let Some(name) = &self.name {
            named::open(&hierarchies, name, &self.resolved)?;
        }
        self.hierarchies = Some(hierarchies);
        Ok(())
    }

    fn make(&mut self, birth: &mut Birth) -> Result<()> {
        let Some(hierarchies) = &self.hierarchies else { return Ok(()) };
        let mut turn = None;
        if let Some(name) = &self.name {
            name.as_str().clone_into(&mut self.group_name);
            self.group = if self.resolved.is_empty() {
                named::existing(hierarchies, name)?
            } else {
                named::open(hierarchies, name, &self.resolved)?
            };
            // What was made goes while it is our turn.
            let unmake = |group: &Group| drop(group.unmake());
            turn = Some(self.group.make_and_take().inspect_err(|_| unmake(&self.group))?);
            self.group.check_for_processes().inspect_err(|_| unmake(&self.group))?;
            // What it is completed with may be another's, who had the turn before.
            self.resolved = limits::resolve(&self.settings, hierarchies, Some(name))
                .inspect_err(|_| unmake(&self.group))?;
            self.undo = Some(Undo::before(&self.resolved, &self.group));
        } else {
            let name = name::transient()?;
            let mut needed = limits::controllers(&self.resolved);
            // Where forks can be stopped nothing gets away from who kills what is left.
            let mut brake = !needed.contains("pids");
            if self.account.is_wanted() {
                // What else is measured is left out where no group may be made for it.
                let measured = MEASURED.into_iter().filter(|name| may_make_in(hierarchies, name));
                needed.extend(measured.map(str::to_owned));
                brake = true;
            }
            // Where the group above has a directory in a tree of v1, so that what is set there holds.
            let is_there = |tree: &str| hierarchies.place(tree).is_some_and(|(_, own)| own.is_dir());
            let wanted = |tree: &str, version| {
                let above = self.parent.is_some() && version == Version::V1;
                needed.contains(tree) || (above && is_there(tree))
            };
            self.group_name = self.group.make_fresh(hierarchies, &name, wanted, brake)?;
        }
        change(&self.resolved, &self.group, &mut self.undo)?;
        drop(turn);
        if self.name.is_some() {
            self.before = hits::Before::now(&self.group);
            self.used_before =
                if self.account.is_wanted() { Used::read(&self.group) } else { Used::default() };
        } else {
            // Nobody has been in it.
            self.before = hits::Before::anybody();
        }
        if limits::ends_whole_group(&self.resolved, hierarchies) {
            self.alarm = Alarm::set(&self.group)?;
        }
        if self.account.is_wanted() {
            self.started = Some(Instant::now());
        }
        birth.cgroup = self.group.cradle()?;
        self.doors = self.group.doors()?;
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        for door in &mut self.doors {
            door.write_all(b"0").doing(|| "move the command into its group".into())?;
        }
        Ok(())
    }

    fn meanwhile(&mut self) {
        self.helper = self.listen();
        self.before.open_log(&self.group);
        // Beside a thousand others it takes as long as a box.
        if let Some(hierarchies) = &self.hierarchies {
            dead::clear(hierarchies, &self.group);
        }
    }

    fn alarm(&self) -> Option<BorrowedFd<'_>> {
        self.alarm.as_ref().map(Alarm::fd)
    }

    fn alarmed(&mut self) -> Result<()> {
        match &self.alarm {
            Some(alarm) if alarm.is_ours() => {
                self.alarm = None;
                self.group.kill_all()
            }
            _ => Ok(()),
        }
    }

    fn called(&mut self) {
        if let Some(helper) = &self.helper {
            helper.help();
        }
    }

    fn after(&mut self, ended: &Ended) -> Result<()> {
        let told = self.tell(ended);
        match (&self.name, ended.ending) {
            (None, _) => self.group.ours().end()?,
            (Some(_), Ending::NotRun) => self.take_back()?,
            (Some(_), _) => {}
        }
        told
    }
}
