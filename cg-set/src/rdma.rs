//! `rdma`: what may be held of adapters for remote memory (Documentation/admin-guide/cgroup-v2.rst and
//! cgroup-v1/rdma.rst of the kernel).

use std::{fmt, fs, path::Path};

use chain::{Error, Limit, Remedy, Result};
use nix::errno::Errno;

use crate::{
    each::Each,
    limits::{read_text, write},
    value::{Value, whole},
};

const MAX: &str = "rdma.max";
const FORM: &str = "write such as mlx4_0:hca_handle=2,hca_object=2000, where each may be left out";

/// What may be held of one adapter. What is not said is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adapter {
    /// Handles (hca_handle).
    handles: Option<Limit<u32>>,
    /// Objects (hca_object).
    objects: Option<Limit<u32>>,
}

impl Adapter {
    /// Takes in `hca_handle=2`.
    fn add(&mut self, word: &str) -> Result<(), String> {
        let (name, number) = word.split_once('=').ok_or_else(|| format!("{word:?} is no limit; {FORM}"))?;
        let place = match name {
            "hca_handle" => &mut self.handles,
            "hca_object" => &mut self.objects,
            _ => return Err(format!("{name:?} is neither hca_handle nor hca_object")),
        };
        let limit = match number {
            "max" => Limit::Max,
            // The largest number stands for no limit (kernel/cgroup/rdma.c).
            _ => whole(number)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number < i32::MAX.unsigned_abs())
                .map(Limit::At)
                .ok_or("not a number of handles or objects; write 0 to 2147483646, or max")?,
        };
        match place.replace(limit) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is given twice")),
        }
    }

    fn words(&self, between: &str) -> String {
        let of = |name, limit: Option<Limit<u32>>| limit.map(|limit| format!("{name}={limit}"));
        let words = [of("hca_handle", self.handles), of("hca_object", self.objects)];
        words.into_iter().flatten().collect::<Vec<_>>().join(between)
    }

    /// Without what is not limited.
    fn limits(self) -> Option<Self> {
        let limited = |limit: &Limit<u32>| *limit != Limit::Max;
        let only = Self { handles: self.handles.filter(limited), objects: self.objects.filter(limited) };
        (only != Self::default()).then_some(only)
    }

    /// What was held of the same, where `before` has the limits.
    fn before(self, before: Option<&Self>) -> Self {
        let was =
            |given: Option<Limit<u32>>, was: Option<Limit<u32>>| given.map(|_| was.unwrap_or(Limit::Max));
        Self {
            handles: was(self.handles, before.and_then(|before| before.handles)),
            objects: was(self.objects, before.and_then(|before| before.objects)),
        }
    }

    fn is_less_than(&self, other: Option<&Self>) -> bool {
        let less = |one: Option<Limit<u32>>, other: Option<Limit<u32>>| match (one, other) {
            (Some(Limit::At(one)), Some(Limit::At(other))) => one < other,
            (one, _) => matches!(one, Some(Limit::At(_))),
        };
        less(self.handles, other.and_then(|other| other.handles))
            || less(self.objects, other.and_then(|other| other.objects))
    }

    fn is_kept_in(&self, kept: Option<&Self>) -> bool {
        let same = |asked: Option<Limit<u32>>, kept: Option<Limit<u32>>| {
            asked.is_none_or(|asked| asked == kept.unwrap_or(Limit::Max))
        };
        same(self.handles, kept.and_then(|kept| kept.handles))
            && same(self.objects, kept.and_then(|kept| kept.objects))
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.words(","))
    }
}

/// `mlx4_0:hca_handle=2,hca_object=2000`, and more of them after a comma.
pub(crate) fn parse(text: &str) -> Result<Each<String, Adapter>, String> {
    let mut each: Vec<(String, Adapter)> = Vec::new();
    for part in text.split(',') {
        let word = match part.split_once(':') {
            Some(("", _)) => return Err(format!("{part:?} has no adapter; {FORM}")),
            Some((name, word)) => {
                each.push((name.to_owned(), Adapter::default()));
                word
            }
            None => part,
        };
        let (_, adapter) = each.last_mut().ok_or_else(|| format!("{part:?} has no adapter; {FORM}"))?;
        adapter.add(word)?;
    }
    Each::of(each)
}

/// Refuses an adapter that the machine does not have.
pub(crate) fn check(each: &Each<String, Adapter>, own: &Path) -> Result<()> {
    let is_there = |name: &str| match read_text(own, MAX) {
        Some(text) => text.lines().any(|line| line.split(' ').next() == Some(name)),
        // The group at the root has no limits.
        None => Path::new(CLASS).join(name).exists(),
    };
    match each.iter().find(|(name, _)| !is_there(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let dirs = fs::read_dir(CLASS).into_iter().flatten().flatten();
            let there: Vec<_> = dirs.map(|dir| dir.file_name().display().to_string()).collect();
            Err(Error::new(format!("this machine has no adapter {name}"), "").hint(if there.is_empty() {
                "it has none".to_owned()
            } else {
                format!("there are {}", there.join(", "))
            }))
        }
    }
}

const CLASS: &str = "/sys/class/infiniband";

/// Writes it to a group.
pub(crate) fn set(each: &Each<String, Adapter>, dir: &Path) -> Result<()> {
    each.iter().try_for_each(|(name, adapter)| {
        write(dir, MAX, &format!("{name} {}", adapter.words(" ")))
            .remedy(Errno::ENODEV, "the adapter is gone")
    })
}

/// What the kernel has; `None` if there is no limit.
pub(crate) fn get(dir: &Path) -> Option<Value> {
    limits(&read_text(dir, MAX)?).map(Value::Rdma)
}

fn limits(text: &str) -> Option<Each<String, Adapter>> {
    Each::found(text.lines().filter_map(|line| {
        let (name, words) = line.split_once(' ')?;
        let mut adapter = Adapter::default();
        // What a newer kernel limits besides is not ours.
        let known = words.split(' ').filter(|word| word.starts_with("hca_"));
        known.into_iter().try_for_each(|word| adapter.add(word)).ok()?;
        Some((name.to_owned(), adapter.limits()?))
    }))
}

/// The limits of the adapters that are given, as they were.
pub(crate) fn before(given: &Each<String, Adapter>, before: &Each<String, Adapter>) -> Each<String, Adapter> {
    let was = |(name, adapter): &(String, Adapter)| (name.clone(), adapter.before(before.get(name)));
    Each::found(given.iter().map(was)).unwrap_or(Each::none())
}

/// Whether one of the adapters is held to less by this than by `other`.
pub(crate) fn are_less_than(one: &Each<String, Adapter>, other: &Each<String, Adapter>) -> bool {
    one.iter().any(|(name, adapter)| adapter.is_less_than(other.get(name)))
}

/// Whether the kernel has what was asked for.
pub(crate) fn is_kept_in(asked: &Each<String, Adapter>, kept: &Each<String, Adapter>) -> bool {
    asked.iter().all(|(name, adapter)| adapter.is_kept_in(kept.get(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_the_kernel_shows() {
        let text = "mlx4_0:hca_handle=2,hca_object=2000,ocrdma1:hca_object=0";
        let each = parse(text).expect("parses");
        assert_eq!(each.to_string(), text);
        let shown = "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=max hca_object=0 qp=max\nx hca_handle=max hca_object=max";
        assert_eq!(limits(shown), Some(each.clone()));
        assert!(is_kept_in(&each, &limits(shown).expect("limits")));
        let less = parse("mlx4_0:hca_handle=2,hca_object=1999").expect("parses");
        assert!(are_less_than(&less, &each) && !are_less_than(&each, &each));
        assert!(are_less_than(&each, &Each::none()));
        assert!(
            !is_kept_in(&each, &Each::none())
                && is_kept_in(&parse("a:hca_handle=max").expect("parses"), &Each::none())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "a",
            "a:",
            ":hca_handle=1",
            "hca_handle=1",
            "a:hca_handle",
            "a:qp=1",
            "a:hca_handle=-1",
            "a:hca_handle=2147483647",
            "a:hca_handle=1,hca_handle=2",
            "a:hca_handle=1,a:hca_object=1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
