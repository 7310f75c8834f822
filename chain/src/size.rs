//! Sizes and limits as they are typed: `4M`, `512`, `max`.

use std::{fmt, str::FromStr};

/// A number of bytes. Typed as a number with an optional K, M, G or T, each a power of 1024,
/// as the kernel's memparse() and systemd read them. From 0 to 2^64 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = |c: char| UNITS.iter().find(|(name, _)| *name == c.to_ascii_uppercase());
        let (digits, shift) = match text.chars().last().and_then(unit) {
            Some((_, shift)) => (&text[..text.len() - 1], *shift),
            None => (text, 0),
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(digits) {
            if digits.split_once('.').is_some_and(|(whole, part)| is_number(whole) && is_number(part)) {
                return Err(
                    "not a size; write a whole number of a smaller unit, such as 1536M for 1.5G".into()
                );
            }
            return Err("not a size; write bytes or a number with K, M, G, T, such as 64M".into());
        }
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .map(Size)
            .ok_or_else(|| "too large a size; the most is 2^64 - 1 bytes, or write max".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let exact = |(_, shift): &&(char, u32)| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        match UNITS.iter().find(exact) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A limit: a value, or `max`, which is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// No limit.
    Max,
    /// At most this.
    At(T),
}

impl<T: FromStr<Err = String>> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" { Ok(Limit::Max) } else { text.parse().map(Limit::At) }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Limit::Max => write!(f, "max"),
            Limit::At(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("512", 512), ("4K", 4096), ("4m", 4 << 20), ("2T", 2 << 40)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "4Q",
            "4 M",
            "1.5G",
            "0x10",
            "4MB",
            "é",
            "4É",
            "18446744073709551616",
            "16777216T",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }

        #[test]
        fn no_input_panics(text in "\\PC*") {
            let _ = text.parse::<Limit<Size>>();
        }
    }
}
