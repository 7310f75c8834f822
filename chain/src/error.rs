//! Errors as every program prints them: what was being done, why it failed, what to do about it.

use std::{fmt, io};

use nix::errno::Errno;

/// A result whose error is ready to be shown to the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The tool failed before NEXT ran, as `env(1)` and `timeout(1)` say it.
pub const FAILED: u8 = 125;
/// NEXT's time was over, as `timeout(1)` says it.
pub(crate) const TIMED_OUT: u8 = 124;
/// NEXT was found but could not be run.
pub const NOT_RUNNABLE: u8 = 126;
/// NEXT was not found.
pub const NOT_FOUND: u8 = 127;

/// One failure, in the three parts of the line that is printed:
/// `what was being done: why; what to do about it`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub(crate) link: String,
    pub(crate) doing: String,
    pub(crate) errno: Option<Errno>,
    pub(crate) words: String,
    pub(crate) hint: String,
    pub(crate) status: u8,
}

impl Error {
    /// A failure that the program itself found, such as a setting that makes no sense.
    pub fn new(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            link: String::new(),
            doing: doing.into(),
            errno: None,
            words: why.into(),
            hint: String::new(),
            status: FAILED,
        }
    }

    /// A failure that the kernel reported.
    pub fn os(doing: impl Into<String>, errno: Errno) -> Self {
        Self { errno: Some(errno), ..Self::new(doing, "") }
    }

    /// Adds what the user can do about it; the last one said stands.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds the kernel's own words, such as the log of fsopen(2), to the errno.
    #[must_use]
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.words = words.into();
        self
    }

    /// Exit status other than [`FAILED`].
    #[must_use]
    pub fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Says what the failed step was a part of, such as the setting that asked for it.
    #[must_use]
    pub fn within(mut self, what: &str) -> Self {
        self.doing = format!("{what}: {}", self.doing);
        self
    }

    /// Names the link that failed, unless one is named already.
    #[must_use]
    pub fn at(mut self, link: &str) -> Self {
        if self.link.is_empty() {
            link.clone_into(&mut self.link);
        }
        self
    }

    /// Why it failed and what to do about it, without what was being done.
    pub fn reason(&self) -> String {
        Self { doing: String::new(), ..self.clone() }.to_string().trim_start_matches(": ").to_owned()
    }

    /// What was being done, why it failed, and what to do about it, for another process to say.
    pub fn parts(&self) -> (String, String, String) {
        let why = Self { hint: String::new(), ..self.clone() }.reason();
        (self.doing.clone(), why, self.hint.clone())
    }

    /// What the kernel said, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }

    /// The exit status that this failure ends the program with.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The line for stderr. `tool` is the program that runs; the link is named too where it is another.
    pub fn line(&self, tool: &str) -> String {
        let link = if self.link.is_empty() || self.link == tool {
            String::new()
        } else {
            format!("{}: ", self.link)
        };
        one_line(&format!("{tool}: {link}{self}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.doing)?;
        match (self.errno, self.words.as_str()) {
            (Some(errno), "") => write!(f, ": {}", strerror(errno))?,
            (Some(errno), words) => write!(f, ": {} ({words})", strerror(errno))?,
            (None, "") => {}
            (None, words) => write!(f, ": {words}")?,
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// The C library's words for an errno (strerror(3)), which every other tool prints too.
fn strerror(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.errno.as_ref().map(|errno| errno as _)
    }
}

/// Says what was being done when a system call failed.
pub trait Doing<T> {
    /// Turns the bare failure into an [`Error`]; `what` is only made when it is needed.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

/// An errno of the one crate as that of the other.
pub fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::os(what(), errno))
    }
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(errno).doing(what)
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => Error::os(what(), Errno::from_raw(errno)),
            None => Error::new(what(), error.to_string()),
        })
    }
}

/// Adds to an error what only some errnos call for.
pub trait Remedy<T> {
    /// Adds the hint if the kernel said `errno`.
    fn remedy(self, errno: Errno, hint: &str) -> Result<T>;
}

impl<T> Remedy<T> for Result<T> {
    fn remedy(self, errno: Errno, hint: &str) -> Result<T> {
        self.map_err(|error| if error.errno == Some(errno) { error.hint(hint) } else { error })
    }
}

/// Text as one line that no terminal obeys: control characters are written as escapes.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_three_parts_and_names_the_tool_once() {
        let error = Error::os("new pid namespace", Errno::EPERM).hint("run as root").at("ns-enter");
        assert_eq!(
            error.line("ns-enter"),
            "ns-enter: new pid namespace: Operation not permitted; run as root"
        );
        assert_eq!(
            error.line("box-run"),
            "box-run: ns-enter: new pid namespace: Operation not permitted; run as root"
        );
    }

    #[test]
    fn the_kernels_words_stand_beside_the_errno() {
        let error = Error::os("mount", Errno::EINVAL).words("overlay: no lower");
        assert_eq!(error.line("x"), "x: mount: Invalid argument (overlay: no lower)");
    }

    #[test]
    fn a_file_name_cannot_break_the_line_or_reach_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
    }
}
