//! Numbers for people.

/// Bytes with two or three digits and a unit: `512`, `1.5K`, `41M`.
pub(crate) fn approximate(bytes: u64) -> String {
    const UNITS: [(u32, char); 4] = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    let Some((shift, unit)) = UNITS.into_iter().find(|(shift, _)| bytes >> shift > 0) else {
        return bytes.to_string();
    };
    // Rounded down, so that what is below a limit is not shown as that.
    let tenths = (u128::from(bytes) * 10) >> shift;
    match (tenths / 10, tenths % 10) {
        (whole @ 100.., _) | (whole, 0) => format!("{whole}{unit}"),
        (whole, tenth) => format!("{whole}.{tenth}{unit}"),
    }
}

/// Microseconds as seconds: `0.012s`.
pub(crate) fn seconds(micros: u64) -> String {
    format!("{}.{:03}s", micros / 1_000_000, micros / 1_000 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_a_unit() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1.5K"),
            (4 << 20, "4M"),
            ((4 << 20) - 1, "3.9M"),
            (150 << 20, "150M"),
            (u64::MAX, "16777215T"),
        ] {
            assert_eq!(approximate(bytes), text);
        }
        assert_eq!(seconds(1_234_567), "1.234s");
    }
}
