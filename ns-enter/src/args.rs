//! What the command line says: the little language of namespaces, `uts=web,pid,net@4242`.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    str::FromStr,
};

use chain::{Error, Job, Operands, Options, Result, Tool};
use clap::Parser;
use nix::sched::CloneFlags;

use crate::NsEnter;

/// Make or join namespaces, then run a command in them
#[derive(Debug, Parser)]
#[command(
    name = "ns-enter",
    version,
    override_usage = "ns-enter [OPTIONS] NAMESPACE[,...] [--] NEXT [ARG...]"
)]
#[command(after_help = "\
Namespaces: uts[=HOSTNAME] pid mnt net ipc cgroup   new ones
            KIND@PID, KIND@FILE                     that of a process, or kept on a file
Example:    ns-enter uts=web,pid,mnt,net -- sh")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// Namespaces, separated by commas, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(namespaces) = operands.settings.first() else {
            return Err(Error::new("no namespaces", "").hint("name some, such as uts,pid,mnt"));
        };
        let link = NsEnter::new(Namespaces::parse(namespaces)?);
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}

/// The kinds of namespaces (namespaces(7)), in the order in which they are joined: the mount
/// namespace last, because it takes away the paths of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Host name and NIS domain name (uts_namespaces(7)).
    Uts,
    /// System V IPC and POSIX message queues (ipc_namespaces(7)).
    Ipc,
    /// Network devices, addresses, ports (network_namespaces(7)).
    Net,
    /// The root of what cgroup files show (cgroup_namespaces(7)).
    Cgroup,
    /// Process ids; the first process in it is 1 (pid_namespaces(7)).
    Pid,
    /// Mounts (mount_namespaces(7)).
    Mnt,
}

impl Kind {
    /// All kinds, in the order in which they are joined.
    pub const ALL: [Kind; 6] = [Kind::Uts, Kind::Ipc, Kind::Net, Kind::Cgroup, Kind::Pid, Kind::Mnt];

    /// The name of the file in /proc/PID/ns, which is also what the user types.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Uts => "uts",
            Kind::Ipc => "ipc",
            Kind::Net => "net",
            Kind::Cgroup => "cgroup",
            Kind::Pid => "pid",
            Kind::Mnt => "mnt",
        }
    }

    /// The flag of clone(2), unshare(2) and setns(2).
    pub fn flag(self) -> CloneFlags {
        match self {
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Net => CloneFlags::CLONE_NEWNET,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Mnt => CloneFlags::CLONE_NEWNS,
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::name).join(", ");
            Error::new(format!("{text:?}"), "not a kind of namespace").hint(format!("there are {known}"))
        })
    }
}

/// An existing namespace, to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// That of the process with this pid.
    Process(u32),
    /// One that is bound to this file, as ip-netns(8) does in /run/netns.
    File(PathBuf),
}

impl Target {
    fn parse(text: &OsStr) -> Self {
        match text.to_str().and_then(|text| text.parse().ok()) {
            Some(pid) => Target::Process(pid),
            None => Target::File(text.into()),
        }
    }

    /// What the user typed after the `@`.
    pub fn word(&self) -> OsString {
        match self {
            Target::Process(pid) => pid.to_string().into(),
            Target::File(path) => path.clone().into(),
        }
    }
}

/// What is wanted of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A new one.
    New,
    /// An existing one.
    Join(Target),
}

/// The longest host name, in bytes (__NEW_UTS_LEN in include/uapi/linux/utsname.h).
pub const HOSTNAME_MAX: usize = 64;

/// What was asked for: each kind at most once, in the order of [`Kind`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Kind and what is wanted of it.
    pub wanted: Vec<(Kind, Want)>,
    /// The host name to set in a new UTS namespace; 1 to [`HOSTNAME_MAX`] bytes.
    pub hostname: Option<String>,
}

impl Namespaces {
    /// Parses `uts[=HOSTNAME],pid,net@PID,mnt@FILE`. A file's name may hold anything but a comma.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let mut namespaces = Self::default();
        for item in text.as_bytes().split(|byte| *byte == b',') {
            namespaces.add(OsStr::from_bytes(item))?;
        }
        namespaces.wanted.sort_by_key(|(kind, _)| *kind);
        Ok(namespaces)
    }

    fn add(&mut self, item: &OsStr) -> Result<()> {
        let bytes = item.as_bytes();
        let mark = bytes.iter().position(|byte| matches!(byte, b'=' | b'@'));
        let (name, value) = bytes.split_at(mark.unwrap_or(bytes.len()));
        if name.is_empty() {
            return Err(Error::new(
                format!("{:?}", item.display().to_string()),
                "a namespace without a name",
            )
            .hint("write names with single commas between them, such as uts,pid"));
        }
        let kind: Kind = String::from_utf8_lossy(name).parse()?;
        let want = match value.split_first() {
            None => Want::New,
            Some((_, [])) => {
                return Err(Error::new(item.display().to_string(), "nothing after the sign"));
            }
            Some((b'@', target)) => Want::Join(Target::parse(OsStr::from_bytes(target))),
            Some((_, value)) if kind == Kind::Uts => {
                self.hostname = Some(hostname(OsStr::from_bytes(value))?);
                Want::New
            }
            Some(_) => {
                return Err(Error::new(
                    item.display().to_string(),
                    format!("{} takes no value", kind.name()),
                ));
            }
        };
        if self.wanted.iter().any(|(other, _)| *other == kind) {
            return Err(Error::new(kind.name(), "given twice"));
        }
        self.wanted.push((kind, want));
        Ok(())
    }

    /// Whether a new one of this kind is wanted.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.wanted.contains(&(kind, Want::New))
    }

    /// Adds a new one of this kind.
    #[must_use]
    pub fn with_new(mut self, kind: Kind) -> Self {
        if !self.wanted.iter().any(|(other, _)| *other == kind) {
            self.wanted.push((kind, Want::New));
            self.wanted.sort_by_key(|(kind, _)| *kind);
        }
        self
    }

    /// The text that [`Namespaces::parse`] makes this of.
    pub fn word(&self) -> OsString {
        let items = self.wanted.iter().map(|(kind, want)| {
            let mut item = kind.name().as_bytes().to_vec();
            match (want, &self.hostname) {
                (Want::Join(target), _) => {
                    item.push(b'@');
                    item.extend(target.word().as_bytes());
                }
                (Want::New, Some(name)) if *kind == Kind::Uts => {
                    item.push(b'=');
                    item.extend(name.as_bytes());
                }
                (Want::New, _) => {}
            }
            item
        });
        OsString::from_vec(items.collect::<Vec<_>>().join(&b','))
    }
}

/// Checks a host name: 1 to [`HOSTNAME_MAX`] bytes without a comma.
pub fn hostname(name: &OsStr) -> Result<String> {
    let name = chain::text("host name", name)?;
    let doing = || format!("host name {name:?}");
    match name.len() {
        0 => Err(Error::new(doing(), "empty")),
        1..=HOSTNAME_MAX if name.contains(',') => Err(Error::new(doing(), "holds a comma")),
        1..=HOSTNAME_MAX => Ok(name.to_owned()),
        long => {
            Err(Error::new(doing(), format!("{long} bytes long; the kernel takes at most {HOSTNAME_MAX}")))
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Namespaces> {
        Namespaces::parse(OsStr::new(text))
    }

    #[test]
    fn the_order_typed_does_not_matter() {
        assert_eq!(parse("mnt,uts=web,pid"), parse("pid,mnt,uts=web"));
    }

    #[test]
    fn a_number_is_a_process_and_anything_else_a_file() {
        let wanted = parse("net@/run/netns/lab,uts@4242").expect("parses").wanted;
        assert_eq!(wanted[0], (Kind::Uts, Want::Join(Target::Process(4242))));
        assert_eq!(wanted[1], (Kind::Net, Want::Join(Target::File("/run/netns/lab".into()))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            ",",
            "uts,",
            "uts,,pid",
            "foo",
            "UTS",
            "uts,uts",
            "uts=a,uts@1",
            "pid=3",
            "uts=",
            "net@",
            "=x",
            "@1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_name_has_at_most_64_bytes() {
        assert!(parse(&format!("uts={}", "h".repeat(64))).is_ok());
        assert!(parse(&format!("uts={}", "h".repeat(65))).is_err());
    }

    fn wants() -> impl Strategy<Value = Want> {
        prop_oneof![
            Just(Want::New),
            any::<u32>().prop_map(|pid| Want::Join(Target::Process(pid))),
            "/[^,\\x00]{0,20}".prop_map(|path| Want::Join(Target::File(path.into()))),
        ]
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(
            wants in proptest::array::uniform6(proptest::option::of(wants())),
            hostname in proptest::option::of("[^,\\x00]{1,16}"),
        ) {
            let wanted: Vec<_> =
                Kind::ALL.into_iter().zip(wants).filter_map(|(kind, want)| Some((kind, want?))).collect();
            prop_assume!(!wanted.is_empty());
            let hostname = hostname.filter(|_| wanted.contains(&(Kind::Uts, Want::New)));
            let namespaces = Namespaces { wanted, hostname };
            prop_assert_eq!(Namespaces::parse(&namespaces.word()), Ok(namespaces));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Namespaces::parse(OsStr::from_bytes(&bytes));
        }
    }
}
