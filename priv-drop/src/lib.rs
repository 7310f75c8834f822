//! Privileges as a link of a chain: the last one before the command, which takes away what the command
//! is not to have (credentials(7), capabilities(7), getrlimit(2)).

mod args;
mod caps;
mod environ;
mod ids;
mod landlock;
mod passwd;
mod personality;
mod process;
mod rlimit;
mod seccomp;
mod securebits;
mod sys;

pub use args::{Args, Settings};
pub use caps::{Caps, is_admin};
pub use environ::{Name, Variable};
pub use ids::{Group, Id, User};
pub use landlock::{FileAccess, PortAccess, Rule, Rules};
pub use personality::Persona;
pub use process::{Nice, OomScoreAdj};
pub use rlimit::Rlimit;
pub use seccomp::Seccomp;
pub use sys::landlock_version;

use std::ffi::OsString;

use chain::{Doing, Launch, Link, Remedy, Result};
use nix::{errno::Errno, sys::prctl::set_dumpable};
use rustix::thread::set_no_new_privs;

/// NEXT with fewer privileges.
#[derive(Debug)]
pub struct PrivDrop {
    settings: Settings,
    restriction: Option<landlock::Restriction>,
    filter: Option<seccomp::Filter>,
}

impl PrivDrop {
    /// A link that takes away everything but what `settings` keep.
    pub fn new(settings: Settings) -> Self {
        Self { settings, restriction: None, filter: None }
    }

    /// Whether no file that NEXT runs gives it anything (no_new_privs of the kernel's documentation).
    fn no_new_privs(&self) -> bool {
        self.settings.no_new_privs || self.restriction.is_some() || self.filter.is_some()
    }
}

impl Link for PrivDrop {
    fn name(&self) -> &'static str {
        "priv-drop"
    }

    fn words(&self) -> Vec<OsString> {
        self.settings.words()
    }

    fn steps(&self) -> Vec<String> {
        self.settings.steps()
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        self.restriction = landlock::prepare(&self.settings.landlock, self.settings.try_landlock)?;
        let has_rules_for_files = self.settings.landlock.iter().any(Rules::is_about_files);
        let load = |profile: &Seccomp| profile.load(has_rules_for_files);
        self.filter = self.settings.seccomp.as_ref().map_or(Ok(None), load)?;
        environ::prepare(&self.settings, launch);
        if self.settings.new_session && process::leads_a_group() {
            // setsid(2) refuses the leader of a process group; a child of it leads none.
            launch.supervise();
        }
        Ok(())
    }

    /// All in the one order that works: what needs a privilege comes before what takes it away.
    fn before_exec(&mut self) -> Result<()> {
        let settings = &self.settings;
        process::set_all(settings)?;
        settings.personality.iter().try_for_each(|persona| persona.set())?;
        // What opens files comes before the limits, which may leave room for none.
        let opened = self.restriction.as_ref().map(|restriction| restriction.open(&settings.landlock));
        let opened = opened.transpose()?;
        let ids = ids::look_up(settings)?;
        settings.rlimits.iter().try_for_each(Rlimit::set)?;

        let kept = settings.caps.as_ref().unwrap_or(&Caps::None).kept()?;
        let bounded = kept.bound()?;
        kept.keep_while(settings.locked, || ids.set())?;
        if settings.new_keyring {
            // As who NEXT is, whose quota of keys it is in.
            sys::join_new_session_keyring().doing(|| "join a new session keyring".into()).remedy(
                Errno::EDQUOT,
                "the user has as many keys as /proc/sys/kernel/keys/maxkeys lets anybody have",
            )?;
        }
        kept.pass_on()?;
        if settings.locked {
            securebits::lock()?;
        }
        // Until the exec nobody who is in the box already may look into this process, which may still have files of
        // the host open (CVE-2016-9962).
        set_dumpable(false).doing(|| "keep others out".into())?;
        kept.drop_others()?;
        if self.no_new_privs() || !bounded {
            set_no_new_privs(true).doing(|| "set no_new_privs".into())?;
        }
        if let Some(opened) = opened {
            opened.restrict_self()?;
        }
        // Last, as it may refuse what all the others need.
        if let Some(filter) = &self.filter {
            filter.install(kept.caps(), settings.seccomp_log)?;
        }
        Ok(())
    }
}
