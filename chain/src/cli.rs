//! The command line that every program shares, and the one `main` that they all call.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::{fd::RawFd, unix::ffi::OsStrExt},
};

use nix::errno::Errno;

use clap::{
    Parser,
    error::{ContextKind, ErrorKind},
};

use crate::{
    attached::detached,
    error::{Doing, Error, NOT_FOUND, Result},
    launch::Plan,
    link::{Ending, Links},
    next::Next,
    signals, sys,
};

/// A program: its command line, and what that asks for.
pub trait Tool: Parser {
    /// What the command line asks for. Pure: it only looks at words.
    fn job(self) -> Result<Job>;

    /// What the command line comes to before it is parsed, where some of its words stand for others.
    fn before(words: Vec<OsString>) -> Result<Words> {
        Ok(Words { words, overriding: false, instead: None })
    }

    /// The options that -h shows, by their identifiers, where all of them are more than a screen.
    fn common() -> &'static [&'static str] {
        &[]
    }
}

/// The words of a command line, the program's own first.
pub struct Words {
    /// They are parsed.
    pub words: Vec<OsString>,
    /// Of an option that is given twice the later counts; else that is an error.
    pub overriding: bool,
    /// What is done in the place of what they ask for.
    pub instead: Option<Job>,
}

/// What a command line asks for.
pub enum Job {
    /// Run NEXT behind these links.
    Launch {
        /// The links, outermost first.
        links: Links,
        /// NEXT and its arguments.
        next: Vec<OsString>,
        /// The options that all programs share.
        options: Options,
    },
    /// Something without NEXT, such as showing a group.
    Do(Box<dyn FnOnce() -> Result<()>>),
    /// A question that the exit status answers, as diff(1) does.
    Ask(Box<dyn FnOnce() -> Result<u8>>),
}

/// The options that all programs share.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Tell in words what the kernel would be asked, one line a step, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Let this open file descriptor reach NEXT (only 0, 1 and 2 do); may be repeated
    #[arg(long = "keep-fd", value_name = "N", value_parser = descriptor)]
    pub keep_fds: Vec<RawFd>,
    /// What a dry run says first, besides the links' steps.
    #[arg(skip)]
    pub notes: Vec<String>,
    /// What to do about it if NEXT is not found, where that is known.
    #[arg(skip)]
    pub if_not_found: Option<String>,
}

impl Options {
    /// The words that give these options to a lone tool.
    pub fn words(&self) -> Vec<OsString> {
        self.keep_fds.iter().flat_map(|fd| ["--keep-fd".into(), fd.to_string().into()]).collect()
    }
}

/// Parses the number of a file descriptor, 0 to 2^31 − 1.
pub fn descriptor(text: &str) -> Result<RawFd, &'static str> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or("not the number of a file descriptor")
}

/// The words after the options: the tool's settings, then NEXT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operands {
    /// What belongs to the tool.
    pub settings: Vec<OsString>,
    /// The command, without the `--` in front of it. Empty if there is none.
    pub next: Vec<OsString>,
}

impl Operands {
    /// Splits `words` at the first `--`, or where `is_setting`, asked with the word and its place,
    /// says no. What looks like an option is an error, not a setting and not NEXT.
    pub fn split(words: Vec<OsString>, mut is_setting: impl FnMut(usize, &OsStr) -> bool) -> Result<Self> {
        let ends = |(at, word): (usize, &OsString)| word == "--" || !is_setting(at, word);
        let end = words.iter().enumerate().position(ends).unwrap_or(words.len());
        let mut settings = words;
        let mut next = settings.split_off(end);
        let dashes = next.first().is_some_and(|word| word == "--");
        let mut looked_at = settings.iter().chain(next.first().filter(|_| !dashes)).enumerate();
        if let Some((at, option)) = looked_at.find(|(_, word)| word.as_bytes().starts_with(b"-")) {
            let error = Error::new(option.display().to_string(), "not an option here");
            return Err(match at {
                0 => error.hint("--help lists those that there are"),
                _ => error.hint("options come before operands, and --help lists them"),
            });
        }
        if dashes {
            next.remove(0);
        }
        Ok(Self { settings, next })
    }
}

/// Text from the command line that is not a path must be UTF-8.
pub fn text<'a>(what: &str, word: &'a OsStr) -> Result<&'a str> {
    word.to_str().ok_or_else(|| Error::new(format!("{what} {}", word.display()), "not UTF-8"))
}

/// The whole of a program's main.rs, which has `#![no_main]`: the C library calls this `main` without
/// Rust's start-up in between. What that does (it reads /proc/self/maps, and sets up a stack and handlers
/// to tell of a stack overflow) takes a twentieth of a launch, and nothing here needs it.
#[macro_export]
macro_rules! main {
    ($tool:ty) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(count: std::ffi::c_int, words: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: they are what the C library calls this with.
            unsafe { $crate::keep_words(count, words) };
            $crate::main::<$tool>().into()
        }
    };
}

/// Runs a program from its command line to its exit status.
pub fn main<T: Tool>() -> u8 {
    sys::start::settle();
    let (name, job) = job_of::<T>();
    // What clap made of it is gone by now, so that it takes no memory while NEXT runs.
    let ending = match job {
        Ok(Asked::To(job)) => run(job),
        Ok(Asked::Nothing(ending)) => Ok(ending),
        Err(error) => Err(error),
    };
    match ending {
        Ok(Ending::Killed(signal)) => signals::die_of(signal),
        Ok(ending) => ending.status(),
        Err(error) => {
            complain(&name, &error);
            error.status()
        }
    }
}

/// What the command line asks for.
enum Asked {
    To(Job),
    /// It was done by saying something.
    Nothing(Ending),
}

/// The program's name, and what its command line asks for.
fn job_of<T: Tool>() -> (String, Result<Asked>) {
    // Described once: what clap makes of a description takes longer than the parsing.
    let mut command = T::command();
    let name = command.get_name().to_owned();
    let _ = TOOL.set(name.clone());
    let words = sys::start::words();
    if !T::common().is_empty() && words.get(1).is_some_and(|word| word == "-h") {
        let is_common = |arg: &clap::Arg| T::common().contains(&arg.get_id().as_str());
        command = command.mut_args(|arg| if is_common(&arg) { arg } else { arg.hide_short_help(true) });
    }
    let asked = T::before(words).and_then(|before| {
        if let Some(job) = before.instead {
            return Ok(Asked::To(job));
        }
        if before.overriding {
            command = std::mem::take(&mut command).args_override_self(true);
        }
        let words = detached(&command, before.words);
        let matches = command.try_get_matches_from_mut(words);
        let parsed = matches
            .and_then(|matches| T::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
        match parsed {
            Ok(tool) => tool.job().map(Asked::To),
            Err(usage) => help_or_usage_error(&name, &usage).map(Asked::Nothing),
        }
    });
    (name, asked)
}

fn run(job: Job) -> Result<Ending> {
    match job {
        Job::Launch { links, next, options } => {
            let mut plan = Plan { links, next: Next::new(next)?, keep_fds: options.keep_fds };
            if options.dry_run {
                plan.prepare()?;
                let steps = options.notes.into_iter().chain(plan.steps());
                return print(&steps.map(|step| step + "\n").collect::<String>());
            }
            plan.run().map_err(|error| match options.if_not_found {
                Some(hint) if error.status() == NOT_FOUND => error.hint(hint),
                _ => error,
            })
        }
        Job::Do(act) => act().map(|()| Ending::NotRun),
        Job::Ask(ask) => ask().map(Ending::Exited),
    }
}

/// Writes what was asked for to stdout, where a full disk is an error as well. A pipe that nobody reads any more
/// ends the program as it would any other.
pub fn print(text: &str) -> Result<Ending> {
    print_bytes(text.as_bytes())
}

/// The same for names that need not be text.
pub fn print_bytes(bytes: &[u8]) -> Result<Ending> {
    let doing = || "write to stdout".to_owned();
    if sys::start::closed().any(|fd| fd == 1) {
        return Err(Errno::EBADF).doing(doing);
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Who reads no further wants no words about it either, unless the caller ignores the signal.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !sys::start::sigpipe_was_ignored() => {
            signals::die_of(nix::sys::signal::Signal::SIGPIPE)
        }
        written => written.doing(doing).map(|()| Ending::NotRun),
    }
}

/// A value as JSON, one line of it.
pub fn json(value: &impl serde::Serialize) -> Result<String> {
    let line = serde_json::to_string(value).map_err(|error| Error::new("JSON", error.to_string()))?;
    Ok(line + "\n")
}

/// What this process is called where it is process 1 of others, to whom its command line tells what is the caller's:
/// paths of the host, and what is in options.
pub(crate) fn call_it_init() {
    sys::start::rename(&format!("{}: init", TOOL.get().map_or("chainbox", String::as_str)));
}

/// The program that runs.
static TOOL: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// A link by the name that its lines begin with: after that of the program that it is a part of.
fn speaker(link: &str) -> String {
    match TOOL.get() {
        Some(tool) if tool != link => format!("{tool}: {link}"),
        _ => link.to_owned(),
    }
}

/// The one line on stderr. If stderr is gone there is nobody to tell.
pub(crate) fn complain(link: &str, error: &Error) {
    let _ = writeln!(io::stderr(), "{}", error.line(&speaker(link)));
}

/// A line on stderr about the command, which is no error of ours: a limit that it passed.
pub fn note(link: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{}: {}", speaker(link), crate::error::one_line(text));
}

/// Parses the words of a command of a program, such as `box-run ps`, which are called `name` together. `None` if
/// they ask for help, which is printed.
pub fn parse<T: Parser>(name: &str, words: impl IntoIterator<Item = OsString>) -> Result<Option<T>> {
    let words = [OsString::from(name)].into_iter().chain(words);
    match T::try_parse_from(words) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(usage) => help_or_usage_error(name, &usage).map(|_| None),
    }
}

/// clap's answer: help and version go to stdout; an error becomes the design's one line.
fn help_or_usage_error(name: &str, usage: &clap::Error) -> Result<Ending> {
    let text = usage.render().to_string();
    match usage.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print(&text),
        _ => Err(wrong_value(usage)
            .unwrap_or_else(|| Error::new(first_lines(&text), "").hint(format!("see {name} --help")))),
    }
}

/// What clap found, if that is a value which the option's own parser refused.
pub fn wrong_value(usage: &clap::Error) -> Option<Error> {
    if usage.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let plain = || Error::new(first_lines(&usage.render().to_string()), "");
    Some(bad_value(usage).unwrap_or_else(plain))
}

/// `--mem 4Q: not a size; …`.
fn bad_value(usage: &clap::Error) -> Option<Error> {
    let option = usage.get(ContextKind::InvalidArg)?.to_string();
    let value = usage.get(ContextKind::InvalidValue)?.to_string();
    let why = std::error::Error::source(usage)?.to_string();
    Some(Error::new(format!("{} {value}", option.split(' ').next()?), why))
}

/// What clap says before it goes on to the usage, as one line.
fn first_lines(text: &str) -> String {
    let what: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let what = what.join(" ");
    what.strip_prefix("error: ").unwrap_or(&what).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &str) -> Result<Operands> {
        let words = words.split(' ').map(Into::into).collect();
        Operands::split(words, |_, word| word.as_bytes().contains(&b'='))
    }

    #[test]
    fn settings_end_at_the_dashes_or_at_the_first_word_that_is_none() {
        for line in ["a=1 b=2 -- sh -c x=1", "a=1 b=2 sh -c x=1"] {
            let operands = split(line).expect(line);
            assert_eq!(operands.settings, ["a=1", "b=2"]);
            assert_eq!(operands.next, ["sh", "-c", "x=1"]);
        }
    }

    #[test]
    fn only_the_first_dashes_are_taken() {
        assert_eq!(split("a=1 -- env -- b=1").expect("splits").next, ["env", "--", "b=1"]);
    }

    #[test]
    fn an_option_after_an_operand_is_not_taken_for_the_command() {
        assert!(split("a=1 --name x").is_err());
        assert_eq!(split("a=1 -- --name x").expect("splits").next, ["--name", "x"]);
    }
}
