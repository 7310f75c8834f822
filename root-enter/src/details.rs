//! What the options say, besides what goes into the new root.

use std::{ffi::OsString, path::PathBuf};

use chain::mount::MountAttrFlags;

use crate::colons;

/// The options that are about the whole new root, and about the command in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Details {
    /// Mount no new proc
    #[arg(long, conflicts_with = "proc", help_heading = "The new root")]
    pub no_proc: bool,
    /// Mount no new /dev
    #[arg(long, conflicts_with = "dev", help_heading = "The new root")]
    pub no_dev: bool,
    /// Hide nothing in a new proc, and let what is the machine's be written
    #[arg(long, help_heading = "The new root")]
    pub proc_full: bool,
    /// Make the new root read-only when all is in it, but not what was put into it
    #[arg(long, help_heading = "The new root")]
    pub root_ro: bool,
    /// Let programs in the new root and in binds be setuid
    #[arg(long, help_heading = "The new root")]
    pub suid: bool,
    /// Let device files in the new root and in binds work
    #[arg(long, help_heading = "The new root")]
    pub device_files: bool,
    /// Run NEXT in this directory of the new root [default: /; with box-run and the host's tree, the caller's]
    #[arg(long, value_name = "DIR", allow_hyphen_values = true, help_heading = "The command")]
    pub chdir: Option<PathBuf>,
    /// The umask of NEXT
    #[arg(long, value_name = "OCTAL", value_parser = umask, help_heading = "The command")]
    pub umask: Option<u32>,
    /// NEXT is a program of the host, linked statically, such as another tool of a chain
    #[arg(short = 'H', long, help_heading = "The command")]
    pub host_next: bool,
}

impl Details {
    /// The words that make the lone tool do the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let flags = [
            ("--no-proc", self.no_proc),
            ("--no-dev", self.no_dev),
            ("--proc-full", self.proc_full),
            ("--root-ro", self.root_ro),
            ("--suid", self.suid),
            ("--device-files", self.device_files),
            ("--host-next", self.host_next),
        ];
        let mut words: Vec<OsString> =
            flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.into()).collect();
        if let Some(dir) = &self.chdir {
            words.extend(["--chdir".into(), dir.clone().into()]);
        }
        if let Some(umask) = self.umask {
            words.extend(["--umask".into(), format!("{umask:03o}").into()]);
        }
        words
    }

    /// The attributes of the new root and of each bind that does not say otherwise.
    pub(crate) fn attributes(&self) -> MountAttrFlags {
        let mut attributes = MountAttrFlags::empty();
        attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, !self.suid);
        attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, !self.device_files);
        attributes
    }
}

fn umask(text: &str) -> Result<u32, &'static str> {
    colons::mode(text).filter(|mode| *mode <= 0o777).ok_or("not a umask; write it in octal, such as 022")
}
