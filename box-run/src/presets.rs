//! Lists of options for what boxes are often made for.

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
    /// The options that it stands for.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        let text = match self {
            Self::Grader => {
                "--mem=256M --cpu=1 --pids=64 --timeout=10s --rlimit=fsize=64M --rlimit=nofile=64 --new-session --env-clear"
            }
            Self::Build => "--rw=. --pids=4096 --nice=5",
            Self::Service => "--allow-net --net-files --caps=net_bind_service --oom=100",
            Self::Agent => "--rw=. --pids=512 --rlimit=fsize=4G --rlimit=nofile=1024 --nice=5 --new-session",
        };
        text.split(' ')
    }
}
