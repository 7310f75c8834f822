//! Changes of a link at given times: lines such as `at 2s loss=50%`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use chain::{Doing, Error, Result, Span};

use crate::words::{self, Word};

/// What is said of the link when so much time has passed since the box's network was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// When.
    pub(crate) after: Duration,
    /// What.
    pub(crate) words: Vec<Word>,
}

/// How many bytes a script has at most.
const MOST: u64 = 1 << 20;

/// Reads a file of steps; `-` is stdin.
pub(crate) fn read(path: &Path) -> Result<Vec<Step>> {
    let doing = || format!("--script {}", path.display());
    let file: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path).doing(doing)?) };
    let mut bytes = Vec::new();
    if file.take(MOST + 1).read_to_end(&mut bytes).doing(doing)? as u64 > MOST {
        return Err(Error::new(doing(), "longer than a script may be; it has at most 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::new(doing(), "not UTF-8"))?;
    let lines = text.lines().enumerate();
    let steps = lines.filter_map(|(number, line)| {
        let at = || format!("--script {}: line {}", path.display(), number + 1);
        step(line).map_err(|error| error.within(&at())).transpose()
    });
    let mut steps: Vec<Step> = steps.collect::<Result<_>>()?;
    // Those of one time stay in the order of the lines.
    steps.sort_by_key(|step| step.after);
    Ok(steps)
}

/// What a line says: `at TIME WORD…`, nothing, or a comment after `#`.
fn step(line: &str) -> Result<Option<Step>> {
    let mut parts = line.split('#').next().unwrap_or_default().split_whitespace();
    match (parts.next(), parts.next()) {
        (None, _) => Ok(None),
        (Some("at"), Some(time)) => {
            let span: Span = time.parse().map_err(|why: String| Error::new(format!("at {time}"), why))?;
            let words = words::parse(parts)?;
            if words.is_empty() {
                return Err(Error::new(format!("at {time}"), "nothing is said of the link then"));
            }
            if let Some(word) = words.iter().find(|word| !word.is_change()) {
                return Err(Error::new(word.to_string(), "cannot be changed while the link is there"));
            }
            Ok(Some(Step { after: span.0, words }))
        }
        _ => Err(Error::new(line.trim(), "not a step; write at TIME SETTING..., such as at 2s loss=50%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(line: &str) -> Option<(u128, String)> {
        let step = step(line).expect(line)?;
        let words: Vec<_> = step.words.iter().map(Word::to_string).collect();
        Some((step.after.as_millis(), words.join(" ")))
    }

    #[test]
    fn a_line_says_when_and_what() {
        assert_eq!(of("at 2s loss=50% down"), Some((2_000, "loss=50% down".into())));
        assert_eq!(of("  at 1.5s partition=a/b # cut"), Some((1_500, "partition=a/b".into())));
        assert_eq!((of(""), of("# nothing")), (None, None));
        for line in ["2s down", "at", "at 2s", "at x down", "at 2s ip=10.0.0.1/8", "at 2s loss=1% loss=2%"] {
            assert!(step(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,80}") {
            let _ = step(&line);
            let _ = step(&format!("at {line}"));
        }
    }
}
