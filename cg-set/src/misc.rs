//! `misc`: resources that are counted by number, such as the keys of encrypted virtual machines
//! (Documentation/admin-guide/cgroup-v2.rst of the kernel, "Misc").

use std::path::Path;

use chain::{Error, Limit, Remedy, Result};
use nix::errno::Errno;

use crate::{
    each::Each,
    limits::{read_text, write},
    value::{Value, whole},
};

const MAX: &str = "misc.max";

/// `sev:10,sev_es:max`.
pub(crate) fn parse(text: &str) -> Result<Each<String, Limit<u64>>, String> {
    let number = |text: &str| match text {
        "max" => Ok(Limit::Max),
        // The largest number stands for no limit.
        _ => whole(text)
            .filter(|number| *number != u64::MAX)
            .map(Limit::At)
            .ok_or_else(|| "not a number; write 0 to 2^64 - 2, or max".into()),
    };
    Each::parse(text, str::to_owned, number, "write a resource and a number, such as sev:10")
}

/// Refuses a resource that the machine does not have.
pub(crate) fn check(each: &Each<String, Limit<u64>>, own: &Path) -> Result<()> {
    // The group at the root has no limits, but is the one that has the capacities.
    let Some(text) = read_text(own, MAX).or_else(|| read_text(own, "misc.capacity")) else { return Ok(()) };
    let there: Vec<_> = text.lines().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    match each.iter().find(|(name, _)| !there.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Error::new(format!("this machine has no {name}"), "").hint(if there.is_empty() {
                "it has none of these resources".to_owned()
            } else {
                format!("there are {}", there.join(", "))
            }))
        }
    }
}

/// Writes it to a group.
pub(crate) fn set(each: &Each<String, Limit<u64>>, dir: &Path) -> Result<()> {
    each.iter().try_for_each(|(name, limit)| {
        write(dir, MAX, &format!("{name} {limit}")).remedy(Errno::EINVAL, "this machine does not have it")
    })
}

/// What the kernel has; `None` if there is no limit.
pub(crate) fn get(dir: &Path) -> Option<Value> {
    limits(&read_text(dir, MAX)?).map(Value::Misc)
}

fn limits(text: &str) -> Option<Each<String, Limit<u64>>> {
    Each::found(text.lines().filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), Limit::At(whole(number)?)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_the_kernel_shows() {
        for text in ["sev:10", "sev:0,sev_es:18446744073709551614"] {
            let each = parse(text).expect("parses");
            let shown = text.replace(':', " ").replace(',', "\n") + "\nother max";
            assert_eq!((each.to_string().as_str(), Some(each)), (text, limits(&shown)));
        }
        assert_eq!(limits("sev max\n"), None);
        for text in ["", "sev", "sev:", ":1", "sev:-1", "sev:1,sev:2", "sev:18446744073709551615", "sev:1K"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
