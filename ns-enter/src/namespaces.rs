//! The little language of namespaces: `uts=web,pid,net@4242`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    str::FromStr,
};

use chain::{Error, Result};

use crate::{idmap::Map, kind::Kind, offsets::Offsets};

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
        let number = text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|number| number.parse().ok()) {
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

/// The longest host name and NIS domain name, in bytes (__NEW_UTS_LEN in
/// include/uapi/linux/utsname.h).
pub const HOSTNAME_MAX: usize = 64;

/// What was asked for: each kind at most once, in the order of [`Kind`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Kind and what is wanted of it.
    pub wanted: Vec<(Kind, Want)>,
    /// What is wanted of all other kinds that the kernel has; of a process, only those in which it
    /// differs from the caller.
    pub all: Option<Want>,
    /// The host name to set in a new UTS namespace; 1 to [`HOSTNAME_MAX`] bytes.
    pub hostname: Option<String>,
    /// The ids of a new user namespace.
    pub map: Map,
    /// The clocks of a new time namespace.
    pub offsets: Option<Offsets>,
}

impl Namespaces {
    /// Whether a mount namespace is joined, by which NEXT is a program of those who are in it.
    pub(crate) fn joins_mounts(&self) -> bool {
        let joins = |want: &Want| matches!(want, Want::Join(_));
        self.all.as_ref().is_some_and(joins)
            || self.wanted.iter().any(|(kind, want)| *kind == Kind::Mnt && joins(want))
    }

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
        let shown = item.display();
        let mark = bytes.iter().position(|byte| matches!(byte, b'=' | b'@'));
        let (name, value) = bytes.split_at(mark.unwrap_or(bytes.len()));
        if name.is_empty() {
            return Err(Error::new(format!("{:?}", shown.to_string()), "a namespace without a name")
                .hint("write names with single commas between them, such as uts,pid"));
        }
        let (sign, value) = match value.split_first() {
            Some((_, [])) => return Err(Error::new(shown.to_string(), "nothing after the sign")),
            Some((sign, value)) => (Some(*sign), OsStr::from_bytes(value)),
            None => (None, OsStr::new("")),
        };
        let kind: Option<Kind> =
            if name == b"all" { None } else { Some(String::from_utf8_lossy(name).parse()?) };
        let want = match (sign, kind) {
            (None, _) => Want::New,
            (Some(b'@'), _) => Want::Join(Target::parse(value)),
            (Some(_), Some(kind)) => {
                self.set(kind, value)?;
                Want::New
            }
            (Some(_), None) => return Err(Error::new(shown.to_string(), "all takes no value")),
        };
        let known = self.wanted.iter().any(|(other, _)| Some(*other) == kind)
            || (kind.is_none() && self.all.is_some());
        match (kind, want) {
            _ if known => Err(Error::new(String::from_utf8_lossy(name), "given twice")),
            (None, Want::Join(Target::File(_))) => {
                Err(Error::new(shown.to_string(), "a file holds one namespace, not all")
                    .hint("name a process, as in all@PID"))
            }
            (None, want) => {
                self.all = Some(want);
                Ok(())
            }
            (Some(kind), want) => {
                self.wanted.push((kind, want));
                Ok(())
            }
        }
    }

    /// Takes what stands after the `=` of a new namespace.
    fn set(&mut self, kind: Kind, value: &OsStr) -> Result<()> {
        match kind {
            Kind::Uts => self.hostname = Some(hostname(value)?),
            Kind::User => self.map = parse_value(kind, value)?,
            Kind::Time => self.offsets = Some(parse_value(kind, value)?),
            _ => {
                return Err(Error::new(
                    format!("{kind}={}", value.display()),
                    format!("{kind} takes no value"),
                ));
            }
        }
        Ok(())
    }

    /// Whether a new one of this kind is named.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.wanted.contains(&(kind, Want::New))
    }

    /// The words for those that are joined, such as `net@42`.
    pub fn joined(&self) -> impl Iterator<Item = String> {
        let word = |name: &str, want: &Want| match want {
            Want::Join(_) => Some(String::from_utf8_lossy(&item(name, want)).into_owned()),
            Want::New => None,
        };
        self.wanted.iter().filter_map(move |(kind, want)| word(kind.name(), want))
    }

    /// Adds a new one of this kind.
    #[must_use]
    pub fn with_new(mut self, kind: Kind) -> Self {
        self.want(kind, Want::New);
        self
    }

    /// The same without a new one of this kind; `all` is the others by their names then.
    #[must_use]
    pub fn without(mut self, kind: Kind) -> Self {
        if self.all == Some(Want::New) {
            self.all = None;
            for other in Kind::ALL.into_iter().filter(|kind| kind.is_known_here()) {
                self.want(other, Want::New);
            }
        }
        self.wanted.retain(|wanted| *wanted != (kind, Want::New));
        self
    }

    /// Adds what is wanted of a kind that was not named.
    pub(crate) fn want(&mut self, kind: Kind, want: Want) {
        if !self.wanted.iter().any(|(other, _)| *other == kind) {
            self.wanted.push((kind, want));
            self.wanted.sort_by_key(|(kind, _)| *kind);
        }
    }

    /// The text that [`Namespaces::parse`] makes this of.
    pub fn word(&self) -> OsString {
        let named = self.wanted.iter().map(|(kind, want)| match want {
            Want::Join(_) => item(kind.name(), want),
            Want::New => match self.value(*kind) {
                Some(value) => format!("{kind}={value}").into_bytes(),
                None => item(kind.name(), want),
            },
        });
        let all = self.all.iter().map(|want| item("all", want));
        OsString::from_vec(all.chain(named).collect::<Vec<_>>().join(&b','))
    }

    /// What stands after the `=` of a new namespace.
    fn value(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Uts => self.hostname.clone(),
            Kind::User => (self.map != Map::default()).then(|| self.map.to_string()),
            Kind::Time => self.offsets.map(|offsets| offsets.to_string()),
            _ => None,
        }
    }
}

fn item(name: &str, want: &Want) -> Vec<u8> {
    let mut item = name.as_bytes().to_vec();
    if let Want::Join(target) = want {
        item.push(b'@');
        item.extend(target.word().as_bytes());
    }
    item
}

fn parse_value<T: FromStr<Err = String>>(kind: Kind, value: &OsStr) -> Result<T> {
    let text = chain::text(kind.name(), value)?;
    text.parse().map_err(|why: String| Error::new(format!("{kind}={text}"), why))
}

/// Checks a host name: 1 to [`HOSTNAME_MAX`] bytes without a comma.
pub fn hostname(name: &OsStr) -> Result<String> {
    let name = system_name("host name", name)?;
    if name.contains(',') {
        return Err(Error::new(format!("host name {name:?}"), "holds a comma"));
    }
    Ok(name)
}

/// Checks a name for sethostname(2) or setdomainname(2): 1 to [`HOSTNAME_MAX`] bytes.
pub(crate) fn system_name(what: &str, name: &OsStr) -> Result<String> {
    let name = chain::text(what, name)?;
    let doing = || format!("{what} {name:?}");
    match name.len() {
        0 => Err(Error::new(doing(), "empty")),
        1..=HOSTNAME_MAX => Ok(name.to_owned()),
        long => {
            Err(Error::new(doing(), format!("{long} bytes long; the kernel takes at most {HOSTNAME_MAX}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::Offset;
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
            "all,all",
            "all,all@1",
            "all=x",
            "all@/file",
            "user=",
            "user=root",
            "user=0:0:0",
            "time=soon",
            "user,user=0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_kind_that_another_link_makes_is_left_out() {
        let without = |text| parse(text).expect("parses").without(Kind::Net).word();
        assert_eq!(without("uts=web,net,pid"), "uts=web,pid");
        assert_eq!(without("net@1"), "net@1");
        let rest = without("all,uts=web");
        assert!(rest.to_string_lossy().starts_with("user,uts=web,ipc,cgroup,"), "{rest:?}");
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
            wants in proptest::array::uniform8(proptest::option::of(wants())),
            hostname in proptest::option::of("[^,\\x00]{1,16}"),
            id in 0..u32::MAX,
            nanos in proptest::option::of(-1000..1000_i64),
            all in proptest::option::of(prop_oneof![
                Just(Want::New), any::<u32>().prop_map(|pid| Want::Join(Target::Process(pid)))
            ]),
        ) {
            let wanted: Vec<_> =
                Kind::ALL.into_iter().zip(wants).filter_map(|(kind, want)| Some((kind, want?))).collect();
            prop_assume!(!wanted.is_empty() || all.is_some());
            let is_new = |kind| wanted.contains(&(kind, Want::New));
            let hostname = hostname.filter(|_| is_new(Kind::Uts));
            let map = if is_new(Kind::User) { Map::Own(id) } else { Map::default() };
            let offset = |nanos| Offsets { monotonic: Offset(nanos), boottime: Offset(-nanos) };
            let offsets = nanos.filter(|_| is_new(Kind::Time)).map(offset);
            let namespaces = Namespaces { wanted, all, hostname, map, offsets };
            prop_assert_eq!(Namespaces::parse(&namespaces.word()), Ok(namespaces));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Namespaces::parse(OsStr::from_bytes(&bytes));
        }
    }
}
