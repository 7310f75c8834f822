//! The little language of id maps: `0:100000:65536+65536:1000:1`, `auto`, `none`, an id.

use std::{fmt, str::FromStr};

/// How the ids of a new user namespace map to those of its parent (user_namespaces(7), "User and
/// group ID mappings").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Map {
    /// The caller's own id is this one inside, and no other is mapped.
    Own(u32),
    /// The caller's own id is 0 inside, and the ids that are the caller's by subuid(5) or subgid(5)
    /// follow from 1 on.
    Auto,
    /// Nothing is mapped; somebody else may write the map.
    None,
    /// These.
    Ranges(Vec<Range>),
}

/// Ids in a row, as a line of /proc/PID/uid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id in the new namespace.
    pub inside: u32,
    /// The first id in its parent.
    pub outside: u32,
    /// How many; at least 1, and both ends below 2^32 − 1.
    pub count: u32,
}

/// To whom a user namespace belongs, as the caller's user namespace numbers users and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user, who has all capabilities in it.
    pub uid: u32,
    /// The group; if it was not said, that of the same number.
    pub gid: u32,
}

/// The most lines of a map (UID_GID_MAP_MAX_EXTENTS in include/linux/user_namespace.h, Linux 4.15).
const MOST_RANGES: usize = 340;
/// The id that means "none" ((uid_t) −1).
const NO_ID: u32 = u32::MAX;

impl Default for Map {
    /// The caller is root inside.
    fn default() -> Self {
        Self::Own(0)
    }
}

impl FromStr for Map {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        if !text.contains([':', '+']) {
            return id(text).map(Self::Own);
        }
        let ranges = text.split('+').map(str::parse).collect::<Result<Vec<Range>, _>>()?;
        if ranges.len() > MOST_RANGES {
            return Err(format!("{} ranges; the kernel takes at most {MOST_RANGES}", ranges.len()));
        }
        for (at, range) in ranges.iter().enumerate() {
            if ranges[..at].iter().any(|other| range.meets(other)) {
                return Err(format!("{range} overlaps another range"));
            }
        }
        Ok(Self::Ranges(ranges))
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Own(id) => id.fmt(f),
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Ranges(ranges) => {
                let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
                f.write_str(&ranges.join("+"))
            }
        }
    }
}

impl Range {
    /// Whether an id inside or one outside is in both.
    fn meets(&self, other: &Self) -> bool {
        let meet = |one, other_one| in_both((one, self.count), (other_one, other.count));
        meet(self.inside, other.inside) || meet(self.outside, other.outside)
    }

    /// Whether the id outside is mapped.
    pub(crate) fn holds_outside(&self, id: u32) -> bool {
        id >= self.outside && id - self.outside < self.count
    }
}

/// Whether an id is in both of what begins with a first one and has so many.
pub(crate) fn in_both(one: (u32, u32), other: (u32, u32)) -> bool {
    let end = |(first, count): (u32, u32)| u64::from(first) + u64::from(count);
    u64::from(one.0) < end(other) && u64::from(other.0) < end(one)
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [inside, outside, count] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(format!("{text:?} is not of the form INSIDE:OUTSIDE:COUNT"));
        };
        // All ids are one more than there are below the last.
        let ids: Option<u32> = whole(count);
        let count = ids.ok_or_else(|| format!("{count:?} is not a number of ids"))?;
        let range = Self { inside: id(inside)?, outside: id(outside)?, count };
        let fits = |first: u32| first.checked_add(range.count).is_some();
        if range.count == 0 {
            return Err(format!("{text} has no ids"));
        }
        if !fits(range.inside) || !fits(range.outside) {
            return Err(format!("{text} goes past the last id, {}", NO_ID - 1));
        }
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |text: &str| decimal(text).ok_or_else(|| format!("{text:?} is not an id; write UID:GID"));
        let uid = number(text.split(':').next().unwrap_or_default())?;
        let gid = text.split_once(':').map_or(Ok(uid), |(_, gid)| number(gid))?;
        Ok(Self { uid, gid })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// An id, if the text is one.
fn decimal(text: &str) -> Option<u32> {
    whole(text).filter(|id| *id != NO_ID)
}

fn whole(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn id(text: &str) -> Result<u32, String> {
    decimal(text).ok_or_else(|| {
        format!("{text:?} is not an id, 0 to {}; write an id, INSIDE:OUTSIDE:COUNT, auto or none", NO_ID - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_read() {
        assert_eq!("0".parse(), Ok(Map::default()));
        assert_eq!("1000".parse(), Ok(Map::Own(1000)));
        assert_eq!("auto".parse(), Ok(Map::Auto));
        assert_eq!("none".parse(), Ok(Map::None));
        let ranges = vec![
            Range { inside: 0, outside: 1000, count: 1 },
            Range { inside: 1, outside: 100_000, count: 65536 },
        ];
        let all = vec![Range { inside: 0, outside: 0, count: u32::MAX }];
        assert_eq!("0:0:4294967295".parse(), Ok(Map::Ranges(all)));
        assert_eq!("0:1000:1+1:100000:65536".parse(), Ok(Map::Ranges(ranges)));
    }

    #[test]
    fn an_owner_has_a_group_of_the_same_number_unless_it_is_said() {
        assert_eq!("7".parse(), Ok(Owner { uid: 7, gid: 7 }));
        assert_eq!("7:8".parse(), Ok(Owner { uid: 7, gid: 8 }));
        for text in ["", ":", "7:", ":8", "7:8:9", "root", "-1", "4294967295"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "+",
            "-1",
            "+1",
            "root",
            "AUTO",
            "4294967295",
            "0:0",
            "0:0:0",
            "0:0:1:1",
            "0:0:1+",
            "0:4294967294:2",
            "1:0:4294967295",
            "0:0:4294967296",
            "0:0:2+1:5:1",
            "0:0:2+5:1:1",
            "0:0:1+auto",
        ] {
            assert!(text.parse::<Map>().is_err(), "{text}");
        }
        let many = |count: u32| (0..count).map(|at| format!("{at}:{at}:1")).collect::<Vec<_>>().join("+");
        assert!(many(340).parse::<Map>().is_ok());
        assert!(many(341).parse::<Map>().is_err());
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(
            own in proptest::option::of(0..u32::MAX), counts in proptest::collection::vec(1..1000_u32, 1..5),
        ) {
            let ranges = counts.iter().scan(0, |next, count| {
                let first = *next;
                *next += count;
                Some(Range { inside: first, outside: first + 7, count: *count })
            });
            let map = own.map_or_else(|| Map::Ranges(ranges.collect()), Map::Own);
            prop_assert_eq!(map.to_string().parse(), Ok(map));
        }

        #[test]
        fn no_input_panics(text in "\\PC*", numbers in "[0-9:+]{0,40}") {
            let _ = text.parse::<Map>();
            let _ = numbers.parse::<Map>();
        }
    }
}
