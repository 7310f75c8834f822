//! Lists of options for what boxes are often made for.

use crate::links::PIDS;

/// A kind of box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// A program that somebody handed in, run on an input.
    Grader,
    /// A build in the working directory.
    Build,
    /// A server.
    Service,
    /// The commands of an assistant.
    Agent,
}

impl Preset {
    /// Its name, as it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grader => "grader",
            Self::Build => "build",
            Self::Service => "service",
            Self::Agent => "agent",
        }
    }

    /// Processes and threads at once where nothing else is said. Not one of the options: it is kept without a group
    /// too, as the usual number is.
    pub(crate) fn pids(self) -> &'static str {
        match self {
            Self::Grader => "64",
            Self::Build => "4096",
            Self::Service => PIDS,
            Self::Agent => "512",
        }
    }

    /// The options that it stands for.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        let text = match self {
            Self::Grader => {
                "--mem=256M --cpu=1 --timeout=10s --rlimit=fsize=64M --rlimit=nofile=64 --caps=none --new-session --env-clear"
            }
            Self::Build => "--rw=. --nice=5",
            Self::Service => "--allow-net --net-files --caps=net_bind_service --oom=100",
            Self::Agent => "--rw=. --rlimit=fsize=4G --rlimit=nofile=1024 --nice=5 --new-session",
        };
        text.split(' ')
    }
}
