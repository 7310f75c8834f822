//! cgroup limits as a link of a chain: a group for NEXT alone that is gone after it, or a named one
//! that stays (cgroups(7)). Each controller is set where it is: on cgroup v1, on v2, or some on one and
//! some on the other.

mod args;
mod dead;
mod device;
mod each;
mod group;
mod hierarchy;
mod io;
mod io_weight;
mod limits;
mod named;
mod oom;
mod process;
mod room;
mod settings;
mod v1;
mod v2;
mod value;

pub use args::{Args, GroupName};
pub use device::Device;
pub use each::Each;
pub use io_weight::Weights;
pub use settings::Settings;
pub use value::{Amount, Cores, Count, Percent, Value};

use std::{ffi::OsString, fs::File, io::Write};

use chain::{Birth, Doing, Ended, Ending, Launch, Link, Result, kernel_log::KernelLog};

use group::Group;
use hierarchy::{Hierarchies, Version};
use oom::Whose;

/// NEXT held to limits.
#[derive(Debug)]
pub struct CgSet {
    settings: Settings,
    /// The same with numbers for percentages.
    resolved: Settings,
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
            resolved: settings.clone(),
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
        let Some(memory) = limits::memory(&self.group) else { return };
        let kills = memory.kills.saturating_sub(self.kills_before);
        if kills == 0 && !memory.was_full {
            return;
        }
        let Some(mem) = limits::mem(&self.group) else { return };
        let next = ended.next.display();
        let victim = self.log.take().and_then(|log| oom::last_victim(log, &self.group_name, kills));
        let whose = victim.as_ref().and_then(|victim| victim.limit).or((kills > 0).then_some(memory.whose));
        let who = match &victim {
            Some(victim) => format!("{} (pid {})", victim.name, victim.pid),
            None => format!("a process of {next}"),
        };
        let why = match whose {
            // On v1 a kill is counted in the victim's group alone, which can be one below this.
            Some(Whose::Own) => "was killed for passing it; raise mem=",
            Some(Whose::Above) if kills > 0 => {
                "was killed because memory ran out above this group; raise the limit there"
            }
            // A group below has its own cg-set, or whoever made it.
            Some(Whose::Above | Whose::Below) | None => return,
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
        self.resolved = limits::resolve(&self.settings, &hierarchies)?;
        if let Some(name) = &self.name {
            named::open(&hierarchies, name, &self.resolved)?;
        }
        self.hierarchies = Some(hierarchies);
        Ok(())
    }

    fn make(&mut self, birth: &mut Birth) -> Result<()> {
        let Some(hierarchies) = &self.hierarchies else { return Ok(()) };
        dead::clear(hierarchies);
        if let Some(name) = &self.name {
            name.as_str().clone_into(&mut self.group_name);
            self.group = named::open(hierarchies, name, &self.resolved)?;
            self.group.make()?;
        } else {
            let name = format!("{}{}.{}", args::TRANSIENT, std::process::id(), process::own_start_time()?);
            let needed = limits::controllers(&self.resolved);
            self.group_name = self.group.make_fresh(hierarchies, &name, |tree| needed.contains(tree))?;
        }
        limits::apply(&self.resolved, &self.group)?;
        if let Some(memory) = limits::memory(&self.group) {
            self.kills_before = memory.kills;
            self.log = Some(KernelLog::from_now());
        }
        birth.cgroup = self.group.cradle()?;
        self.doors = self.group.doors(Some(Version::V1))?;
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
