//! One value for each of several things: `/dev/vda:50M,8:0:max`.

use std::fmt;

use chain::Limit;

/// Things with a value each, in the order in which they were typed, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Each<K, V>(Vec<(K, V)>);

impl<K: PartialEq + fmt::Display, V> Each<K, V> {
    /// Reads `THING:VALUE`, or several with commas between them. Only the last colon of each divides, so
    /// that a thing may have some too. `hint` says what to write instead of what is not of that form.
    pub(crate) fn parse(
        text: &str,
        thing: impl Fn(&str) -> K,
        value: impl Fn(&str) -> Result<V, String>,
        hint: &str,
    ) -> Result<Self, String> {
        let mut each = Vec::new();
        for part in text.split(',') {
            let (name, number) =
                part.rsplit_once(':').ok_or_else(|| format!("{part:?} has no colon; {hint}"))?;
            if name.is_empty() {
                return Err(format!("{part:?} has nothing before the colon; {hint}"));
            }
            each.push((thing(name), value(number)?));
        }
        Self::of(each)
    }

    /// Fails if there are two of the same.
    pub(crate) fn of(each: Vec<(K, V)>) -> Result<Self, String> {
        for (at, (thing, _)) in each.iter().enumerate() {
            if each[..at].iter().any(|(other, _)| other == thing) {
                return Err(format!("{thing} is given twice"));
            }
        }
        Ok(Self(each))
    }

    /// No limit at all.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// What the kernel has, if there is any.
    pub(crate) fn found(each: impl Iterator<Item = (K, V)>) -> Option<Self> {
        Some(Self(each.collect())).filter(|found| !found.0.is_empty())
    }

    /// The value of one of them.
    pub fn get(&self, thing: &K) -> Option<&V> {
        self.iter().find(|(name, _)| name == thing).map(|(_, value)| value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }
}

impl<K: PartialEq + fmt::Display, V: PartialOrd> Each<K, Limit<V>> {
    /// Whether one of the things is held to less by this than by `other`.
    pub(crate) fn are_less_than(&self, other: &Self) -> bool {
        self.iter().any(|(thing, limit)| match (limit, other.get(thing)) {
            (Limit::At(one), Some(Limit::At(two))) => one < two,
            (Limit::At(_), None | Some(Limit::Max)) => true,
            (Limit::Max, _) => false,
        })
    }

    /// Whether the kernel has these limits among its own, where `max` is none.
    pub(crate) fn are_kept_in(&self, kept: &Self) -> bool {
        self.iter().all(|(thing, limit)| match kept.get(thing) {
            Some(kept) => kept == limit,
            None => *limit == Limit::Max,
        })
    }
}

impl<K: fmt::Display, V: fmt::Display> fmt::Display for Each<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (at, (thing, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{thing}:{value}")?;
        }
        Ok(())
    }
}
