//! Words whose parts have colons between them, and options at the end: `SRC:DST:ro,noexec`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use chain::{Error, Result};

/// The parts of a value, and what to call it in an error.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Such as `bind a:/b`.
    pub(crate) shown: String,
    pub(crate) parts: Vec<OsString>,
}

impl Parts {
    /// Splits at the colons that no backslash stands before, and takes the backslashes away.
    pub(crate) fn of(option: &str, word: &OsStr) -> Result<Self> {
        let shown = format!("{option} {}", word.display());
        match split(word.as_bytes()) {
            Some(parts) => Ok(Self { shown, parts }),
            None => Err(Error::new(shown, "a backslash before neither a colon nor a backslash")
                .hint("a backslash in a path is written \\\\")),
        }
    }

    pub(crate) fn bad(&self, why: &str, hint: &str) -> Error {
        Error::new(&self.shown, why).hint(hint)
    }

    /// The value as one place, without anything else.
    pub(crate) fn only_place(&self) -> Result<PathBuf> {
        match self.parts.as_slice() {
            [place] => self.place(place),
            _ => Err(self.bad("more than a place", "a colon in a path is written \\:")),
        }
    }

    /// A part as a place in the new root: absolute, below `/`, without `..`.
    pub(crate) fn place(&self, part: &OsStr) -> Result<PathBuf> {
        let path = Path::new(part);
        if !path.is_absolute() || path.components().count() < 2 {
            return Err(self.bad("no place in the new root", "write DST as an absolute path below /"));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(self.bad(".. in the place", "write DST without it"));
        }
        Ok(path.into())
    }

    /// A part as options: words with commas between them, with a value or without.
    pub(crate) fn options<'a>(&self, part: &'a OsStr) -> Result<Vec<(&'a str, Option<&'a str>)>> {
        let text = chain::text(&self.shown, part)?;
        let option =
            |word: &'a str| word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        Ok(text.split(',').map(option).collect())
    }

    pub(crate) fn no_option(&self, option: &str, those: &str) -> Error {
        self.bad(&format!("no option {option:?}"), &format!("the options are {those}"))
    }
}

/// `None` if a backslash stands before anything else than a colon or a backslash.
fn split(word: &[u8]) -> Option<Vec<OsString>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = word.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => parts.push(Vec::new()),
            b'\\' => {
                let byte = bytes.next().filter(|byte| b":\\".contains(byte))?;
                parts.last_mut()?.push(byte);
            }
            _ => parts.last_mut()?.push(byte),
        }
    }
    Some(parts.into_iter().map(OsString::from_vec).collect())
}

/// The part as it is typed.
pub(crate) fn escape(part: impl AsRef<OsStr>) -> OsString {
    let mut escaped = Vec::new();
    for byte in part.as_ref().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    OsString::from_vec(escaped)
}

/// Parts that are typed already, with colons between them; an empty last one, of options, is left out.
pub(crate) fn join(parts: &[&OsStr], options: &[String]) -> OsString {
    let options = OsString::from(options.join(","));
    let options = (!options.is_empty()).then_some(options.as_os_str());
    let parts: Vec<_> = parts.iter().copied().chain(options).collect();
    parts.join(OsStr::new(":"))
}

/// Permissions as chmod(1) takes them: octal, at most 7777.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|mode| *mode <= 0o7777)
}

/// What is wrong with permissions.
pub(crate) const NO_MODE: &str = "not permissions; write them in octal, such as 755";
