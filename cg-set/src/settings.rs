//! The settings by name, one table for parsing, help and errors.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::OsString,
};

use chain::{Error, Result, text};

use crate::{
    hugetlb,
    value::{Cores, Form, Value},
};

/// A setting, independent of the version of cgroups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    /// As it is typed; where it ends in `SIZE` in [`KEYS`], it stands for a setting of each size.
    pub(crate) name: &'a str,
    pub(crate) form: Form,
    /// The controller that it belongs to, by its name on v2; `cgroup` is none.
    pub(crate) controller: &'static str,
}

const fn key(name: &'static str, form: Form, controller: &'static str) -> Key<'static> {
    Key { name, form, controller }
}

impl Key<'_> {
    /// Whether it is the one for a setting of this name.
    fn stands_for(&self, name: &str) -> bool {
        match self.name.strip_suffix("SIZE").map(|stem| name.strip_prefix(stem)) {
            None => self.name == name,
            Some(size) => size.is_some_and(is_word),
        }
    }
}

/// All settings, in the order in which they are shown.
pub(crate) const KEYS: [Key; 24] = [
    key("mem", Form::Bytes, "memory"),
    key("swap", Form::Bytes, "memory"),
    key("mem.high", Form::Bytes, "memory"),
    key("mem.low", Form::Bytes, "memory"),
    key("mem.min", Form::Bytes, "memory"),
    key("cpu", Form::Cores, "cpu"),
    key("cpu.period", Form::Time, "cpu"),
    key("cpu.weight", Form::Weight, "cpu"),
    key("cpu.idle", Form::Switch, "cpu"),
    key("cpu.burst", Form::Time, "cpu"),
    key("cpus", Form::List, "cpuset"),
    key("mems", Form::List, "cpuset"),
    key("pids", Form::Count, "pids"),
    key("oom.group", Form::Switch, "memory"),
    key("freeze", Form::Switch, "freezer"),
    key("io.read", Form::Rate, "io"),
    key("io.write", Form::Rate, "io"),
    key("io.riops", Form::Iops, "io"),
    key("io.wiops", Form::Iops, "io"),
    key("io.weight", Form::IoWeight, "io"),
    key("devices", Form::Devices, "devices"),
    key("hugetlb.SIZE", Form::HugePages, "hugetlb"),
    key("rdma", Form::Rdma, "rdma"),
    key("misc", Form::Misc, "misc"),
];

/// The setting of this name.
pub(crate) fn find(name: &str) -> Option<Key<'_>> {
    KEYS.iter().find(|key| key.stands_for(name)).map(|key| Key { name, ..*key })
}

/// All settings that there are here.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(|key| match key.form {
        Form::HugePages => hugetlb::names(),
        _ => vec![key.name.to_owned()],
    })
}

/// Files that are no limits (cgroups(7); Documentation/admin-guide/cgroup-v1/cgroups.rst), and what to do in their place.
const NOT_SETTINGS: [(&str, &str); 10] = [
    ("cgroup.procs", "--pid moves processes into a named group"),
    ("cgroup.threads", "--pid moves processes into a named group"),
    ("cgroup.kill", "--remove --kill ends those of a named group"),
    ("cgroup.freeze", "freeze=1 stops those of a named group"),
    ("freezer.state", "freeze=1 stops those of a named group"),
    ("cgroup.subtree_control", ""),
    ("cgroup.type", ""),
    ("cgroup.event_control", ""),
    ("cgroup.clone_children", ""),
    ("cgroup.sane_behavior", ""),
];

/// A file of the kernel's own name, written as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// `CONTROLLER.FILE`.
    pub(crate) file: String,
    pub(crate) value: String,
}

impl Raw {
    /// The controller that the file is of; `cgroup` for the files that every group has.
    pub(crate) fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}

/// The limits that were asked for. What is not in it is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, Value>,
    raw: Vec<Raw>,
}

impl Settings {
    /// Parses words such as `mem=4M`, each key at most once.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a OsString>) -> Result<Self> {
        let mut settings = Self::default();
        for word in words {
            let word = text("setting", word)?;
            settings.add(word).map_err(|error| error.unwrap_or_else(|| unknown(word)))?;
        }
        Ok(settings)
    }

    /// `None` as the error if there is no such setting.
    fn add(&mut self, word: &str) -> Result<(), Option<Error>> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let refuse = |why: &str| Some(Error::new(word, why));
        let Some(key) = find(name) else {
            if !is_file(name) {
                return Err(None);
            }
            if let Some((_, instead)) = NOT_SETTINGS.iter().find(|(file, _)| *file == name) {
                let error = Error::new(
                    word,
                    "this is no limit, but moves, stops or kills processes, or shares out controllers",
                );
                return Err(Some(if instead.is_empty() { error } else { error.hint(*instead) }));
            }
            if self.raw.iter().any(|raw| raw.file == name) {
                return Err(refuse("given twice"));
            }
            self.raw.push(Raw { file: name.into(), value: value.into() });
            return Ok(());
        };
        let value = key.form.parse(value).map_err(|why| Some(Error::new(word, why)))?;
        match self.values.entry(name.to_owned()) {
            Entry::Occupied(_) => Err(refuse("given twice")),
            Entry::Vacant(place) => {
                place.insert(value);
                Ok(())
            }
        }
    }

    /// A parser of the value of the setting `name`, for another program's option.
    pub fn value_of(name: &'static str) -> impl Fn(&str) -> Result<Value, String> + Clone {
        move |value| find(name).map_or_else(|| Err("not a setting".into()), |key| key.form.parse(value))
    }

    /// Adds a setting whose value [`Settings::value_of`] has parsed.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<Value>) -> Self {
        self.values.extend(value.map(|value| (name.to_owned(), value)));
        self
    }

    /// Parses one word, for another program's option.
    pub(crate) fn one(word: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        settings.add(word).map_err(|error| error.unwrap_or_else(|| unknown(word)).reason())?;
        Ok(settings)
    }

    /// These and others; the name of one that is in both is the error.
    pub(crate) fn and(mut self, others: Self) -> Result<Self, String> {
        for (name, value) in others.values {
            if self.values.insert(name.clone(), value).is_some() {
                return Err(name);
            }
        }
        for raw in others.raw {
            if self.raw.iter().any(|own| own.file == raw.file) {
                return Err(raw.file);
            }
            self.raw.push(raw);
        }
        Ok(self)
    }

    /// Whether this one is among them.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The place of a setting in [`KEYS`].
    pub(crate) fn rank(name: &str) -> Option<usize> {
        KEYS.iter().position(|key| key.stands_for(name))
    }

    /// The controller of a setting.
    pub(crate) fn controller_of(name: &str) -> Option<&'static str> {
        find(name).map(|key| key.controller)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.raw.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The microseconds over which processor time is counted.
    pub(crate) fn cpu_period(&self) -> u128 {
        match self.get("cpu.period") {
            Some(Value::Time(period)) => period.0.as_micros(),
            _ => Cores::PERIOD.into(),
        }
    }

    /// What is set, in the order of [`KEYS`].
    pub(crate) fn given(&self) -> impl Iterator<Item = (Key<'_>, &Value)> {
        KEYS.iter().flat_map(|key| {
            let of_key = self.values.iter().filter(|(name, _)| key.stands_for(name));
            of_key.map(|(name, value)| (Key { name, ..*key }, value))
        })
    }

    pub(crate) fn raw(&self) -> &[Raw] {
        &self.raw
    }

    /// The words that [`Settings::parse`] makes this of.
    pub fn words(&self) -> Vec<OsString> {
        let given = self.given().map(|(key, value)| format!("{}={value}", key.name).into());
        let raw = self.raw.iter().map(|raw| format!("{}={}", raw.file, raw.value).into());
        given.chain(raw).collect()
    }
}

/// What a user who typed a setting's name alone should type.
pub(crate) fn form_of(name: &str) -> Option<String> {
    find(name).map(|key| format!("{}={}", key.name, key.form.takes()))
}

fn unknown(word: &str) -> Error {
    let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    Error::new(word, "not a setting")
        .hint(format!("there are {}, and the kernel's own CONTROLLER.FILE=VALUE", names.join(", ")))
}

/// Whether it can be the name of one of the kernel's files: two words or more with dots between them.
fn is_file(name: &str) -> bool {
    name.contains('.') && name.split('.').all(is_word)
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(words: &str) -> Result<Settings> {
        Settings::parse(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_typed_is_what_is_printed() {
        let words = "mem=4M swap=max mem.high=25% cpu=1.5 cpu.weight=200 cpus=0-1,3 pids=100 oom.group=1 \
                     hugetlb.1GB=1G hugetlb.2MB=64M memory.swappiness=10 hugetlb.2MB.max=4M";
        let printed: Vec<_> = parse(words).expect("parses").words();
        let expected: Vec<_> = words.split_whitespace().map(OsString::from).collect();
        assert_eq!(printed, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "",
            "mem",
            "mem=",
            "mem=1M mem=1M",
            "foo=1",
            "=1",
            "a..b=1",
            ".=1",
            "../x=1",
            "a.b=1 a.b=2",
            "hugetlb.2MB=1M hugetlb.2MB=2M",
            "hugetlb.2MB=5%",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(key in "[a-z.]{0,12}", value in "\\PC*") {
            let _ = parse(&format!("{key}={value}"));
        }
    }
}
