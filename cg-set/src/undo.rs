//! What a named group had before it was changed, which it gets back if the change fails half-way or the
//! command cannot be run.

use std::{fmt, path::PathBuf};

use chain::{Limit, Size};

use crate::{
    devices::Devices,
    each::Each,
    group::Group,
    limits::{self, put, read_text},
    rdma,
    settings::Settings,
    value::{Amount, Value},
};

/// The settings that are about to be changed, and what they are.
#[derive(Debug)]
pub(crate) struct Undo {
    names: Vec<String>,
    before: Settings,
    files: Vec<RawFile>,
    /// What the kernel has made of it all, when that is done.
    written: Option<Settings>,
}

/// A file that is written as it is.
#[derive(Debug)]
struct RawFile {
    path: PathBuf,
    before: String,
    written: Option<String>,
}

impl RawFile {
    fn read(&self) -> Option<String> {
        read_text(self.path.parent()?, self.path.file_name()?.to_str()?)
    }
}

impl Undo {
    /// Remembers what `settings` will change.
    pub(crate) fn before(settings: &Settings, group: &Group) -> Self {
        let mut before = limits::read(group);
        let mut names = Vec::new();
        for (key, value) in settings.given() {
            let old = old(key.name, value, before.get(key.name));
            before = before.with(key.name, old);
            // A weight is lost with it, and can be set again when the group is idle no more.
            if key.name == "cpu.idle" && before.get("cpu.weight").is_some() {
                names.push("cpu.weight".to_owned());
            }
            // Swap is set together with memory, where there is a limit on that.
            let with_mem = key.name == "swap" && before.get("mem").is_some();
            names.push(if with_mem { "mem" } else { key.name }.to_owned());
        }
        let file = |raw: &crate::settings::Raw| {
            let (_, dir) = group.place(raw.controller())?;
            Some(RawFile { path: dir.join(&raw.file), before: read_text(dir, &raw.file)?, written: None })
        };
        Self { names, before, files: settings.raw().iter().filter_map(file).collect(), written: None }
    }

    /// Remembers what was written, while nobody else may change the group: what is another value when it is undone
    /// is another's.
    pub(crate) fn is_written(&mut self, group: &Group) {
        self.written = Some(limits::read(group));
        for file in &mut self.files {
            file.written = file.read();
        }
    }

    /// Whether nobody has set anything since it was written.
    pub(crate) fn is_as_written(&self, group: &Group) -> bool {
        let settings = self.written.as_ref().is_none_or(|written| *written == limits::read(group));
        settings && self.files.iter().all(|file| file.written.is_none() || file.written == file.read())
    }

    /// Puts it back as far as that can be done: why the change failed matters more.
    pub(crate) fn undo(&self, group: &Group) {
        for file in self.files.iter().rev() {
            if file.written.is_none() || file.written == file.read() {
                let _ = put(&file.path, &file.before);
            }
        }
        let mut again = Vec::new();
        let now = self.written.as_ref().map(|_| limits::read(group));
        for name in self.names.iter().rev() {
            let value_in =
                |settings: &Option<Settings>| settings.as_ref().and_then(|all| all.get(name).cloned());
            if value_in(&self.written) == value_in(&now) && limits::set(name, &self.before, group).is_err() {
                again.push(name);
            }
        }
        // One may be refused because of another that came after it.
        for name in again {
            let _ = limits::set(name, &self.before, group);
        }
    }
}

/// What a setting was: as `before` says, or as in every new group.
fn old(name: &str, given: &Value, before: Option<&Value>) -> Option<Value> {
    let nothing = given.nothing();
    match (given, before.or(nothing.as_ref())) {
        (Value::Rate(given), Some(Value::Rate(before))) => Some(Value::Rate(lifted(given, before))),
        (Value::Iops(given), Some(Value::Iops(before))) => Some(Value::Iops(lifted(given, before))),
        (Value::Misc(given), Some(Value::Misc(before))) => Some(Value::Misc(lifted(given, before))),
        (Value::Rdma(given), Some(Value::Rdma(before))) => Some(Value::Rdma(rdma::before(given, before))),
        (Value::IoWeight(given), Some(Value::IoWeight(before))) => {
            Some(Value::IoWeight(given.before(before)))
        }
        (_, Some(before)) => Some(before.clone()),
        (Value::Bytes(_), None) if matches!(name, "mem.low" | "mem.min") => {
            Some(Value::Bytes(Limit::At(Amount::Number(Size(0)))))
        }
        (Value::Bytes(_), None) => Some(Value::Bytes(Limit::Max)),
        (Value::Cores(_), None) => Some(Value::Cores(Limit::Max)),
        (Value::Count(_), None) => Some(Value::Count(Limit::Max)),
        (Value::Time(_), None) if name == "cpu.burst" => Some(Value::micros(0)),
        (Value::Weight(_), None) => Some(Value::Weight(100)),
        (Value::Devices(_), None) => Some(Value::Devices(Devices::ALL)),
        (Value::Switch(_), None) => Some(Value::Switch(false)),
        // On v2 an empty line is that of the group above.
        (Value::List(_), None) => Some(Value::List("\n".into())),
        _ => None,
    }
}

/// The limits of the things that are given, as they were.
fn lifted<K: Clone + PartialEq + fmt::Display, V: Copy + PartialEq>(
    given: &Each<K, Limit<V>>,
    before: &Each<K, Limit<V>>,
) -> Each<K, Limit<V>> {
    let was = |thing: &K| before.get(thing).copied().unwrap_or(Limit::Max);
    Each::found(given.iter().map(|(thing, _)| (thing.clone(), was(thing)))).unwrap_or(Each::none())
}
