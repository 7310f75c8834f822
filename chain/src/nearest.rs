//! A word that is known, for one that is not.

/// How alike two words are at least, from 0 to 1, for the one to be meant by the other: as clap has it for options.
const ALIKE: f64 = 0.7;

/// The known word that is most like this one, if one is like it.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let measured = known.into_iter().map(|one| (strsim::jaro(word, one), one));
    let alike = measured.filter(|(likeness, _)| *likeness > ALIKE);
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_near_and_another_word_is_not() {
        let known = ["loss", "delay", "down", "up"];
        for (word, near) in [
            ("lost", Some("loss")),
            ("dwon", Some("down")),
            ("dealy", Some("delay")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
    }
}
