//! cgroup limits as a link of a chain: a group for NEXT alone that is gone after it, or a named one
//! that stays (cgroups(7)). This version sets cgroup v1, alone or beside v2 on a hybrid machine.

mod args;
mod group;
mod hierarchy;
mod named;
mod oom;
mod process;
mod v1;

pub use args::{Args, Cores, Count, GroupName, Settings};

use std::{ffi::OsString, fs::File, io::Write};

use chain::{Birth, Doing, Ended, Ending, Launch, Link, Result, kernel_log::KernelLog};

use group::Group;
use hierarchy::Hierarchies;

/// NEXT held to limits.
#[derive(Debug)]
pub struct CgSet {
    settings: Settings,
    name: Option<GroupName>,
    hierarchies: Option<Hierarchies>,
    /// The group's name below the caller's own.
    group_name: String,
    group: Group,
    doors: Vec<File>,
    kills_before: u64,
    log: Option<KernelLog>,
}

impl CgSet {
    /// A group for NEXT alone, removed after it with everything that still runs in it.
    pub fn transient(settings: Settings) -> Self {
        Self {
            settings,
            name: None,
            hierarchies: None,
            group_name: String::new(),
            group: Group::default(),
            doors: Vec::new(),
            kills_before: 0,
            log: None,
        }
    }

    /// A group that stays: made if it is missing, set, and joined by NEXT.
    pub fn named(name: GroupName, settings: Settings) -> Self {
        Self { name: Some(name), ..Self::transient(settings) }
    }

    /// Says on stderr who was killed for passing the memory limit, if somebody was.
    fn report_memory(&mut self, ended: &Ended) {
        let Some(mem) = v1::read(&self.group).mem else { return };
        let kills = v1::oom_kills(&self.group).unwrap_or(0).saturating_sub(self.kills_before);
        if kills == 0 {
            return;
        }
        let next = ended.next.display();
        let victim = self.log.take().and_then(|log| oom::last_victim(log, &self.group_name, kills));
        let who = match &victim {
            Some(victim) => format!("{} (pid {})", victim.name, victim.pid),
            None => format!("a process of {next}"),
        };
        let own_limit = victim.and_then(|victim| victim.own_limit);
        let why = if own_limit.unwrap_or_else(|| v1::memory_was_full(&self.group)) {
            "was killed for passing it; raise mem="
        } else {
            "was killed because memory ran out above this group; raise the limit there"
        };
        chain::note(self.name(), &format!("mem={mem}: {who} {why}"));
    }
}

impl Link for CgSet {
    fn name(&self) -> &'static str {
        "cg-set"
    }

    fn words(&self) -> Vec<OsString> {
        let name = self.name.iter().flat_map(|name| ["--name".into(), name.as_str().into()]);
        name.chain(self.settings.words()).collect()
    }

    fn steps(&self) -> Vec<String> {
        let mut steps = vec![match &self.name {
            None => "make a group below the caller's own".to_owned(),
            Some(name) => format!("make the group {name} if it is missing"),
        }];
        steps.extend(self.settings.words().iter().map(|word| format!("set {}", word.display())));
        steps.push("move the command into the group".into());
        if self.name.is_none() {
            steps.push("after the command: kill what is left in the group, and remove it".into());
        }
        steps
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        launch.supervise();
        let hierarchies = Hierarchies::read()?;
        v1::check(&self.settings, &hierarchies)?;
        if let Some(name) = &self.name {
            named::open(&hierarchies, name, &self.settings)?;
        }
        self.hierarchies = Some(hierarchies);
        Ok(())
    }

    fn make(&mut self, _birth: &mut Birth) -> Result<()> {
        let Some(hierarchies) = &self.hierarchies else { return Ok(()) };
        if let Some(name) = &self.name {
            name.as_str().clone_into(&mut self.group_name);
            self.group = named::open(hierarchies, name, &self.settings)?;
            self.group.make()?;
        } else {
            let name = format!("{}{}.{}", args::TRANSIENT, std::process::id(), process::own_start_time()?);
            let wanted = |tree: &str| v1::needs(&self.settings, tree);
            self.group_name = self.group.make_fresh(hierarchies, &name, wanted)?;
        }
        v1::apply(&self.settings, &self.group)?;
        if let Some(kills) = v1::oom_kills(&self.group) {
            self.kills_before = kills;
            self.log = Some(KernelLog::from_now());
        }
        self.doors = self.group.doors()?;
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        for door in &mut self.doors {
            door.write_all(b"0").doing(|| "move the command into its group".into())?;
        }
        Ok(())
    }

    fn after(&mut self, ended: &Ended) -> Result<()> {
        self.report_memory(ended);
        match (&self.name, ended.ending) {
            (None, _) => {
                let ours = self.group.ours();
                ours.kill_all()?;
                ours.remove()
            }
            (Some(_), Ending::NotRun) => self.group.unmake(),
            (Some(_), _) => Ok(()),
        }
    }
}
