//! NEXT: the command at the end of the chain, and what goes wrong when it cannot be run.

use std::{
    convert::Infallible,
    env,
    ffi::{CString, OsStr, OsString},
    fmt,
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    unistd::{AccessFlags, eaccess, execve, execveat, execvp},
};

use crate::{
    error::{Doing, Error, NOT_FOUND, NOT_RUNNABLE, Result},
    program, sys,
};

/// What NEXT gets of this process.
pub(crate) struct Inheritance<'a> {
    /// Descriptors besides 0, 1 and 2.
    pub(crate) keep_fds: &'a [RawFd],
    /// The environment, if it is not this process's.
    pub(crate) environment: Option<&'a [CString]>,
    /// The program, if it was opened before the links entered.
    pub(crate) program: Option<BorrowedFd<'a>>,
}

/// The command that the chain ends in, with its arguments.
#[derive(Debug, Clone)]
pub struct Next {
    words: Vec<CString>,
}

impl Next {
    /// Takes the words as they were typed. Fails if there are none.
    pub fn new(words: Vec<OsString>) -> Result<Self> {
        if words.first().is_none_or(|name| name.is_empty()) {
            return Err(Error::new("no command", "").hint("name one after --, such as -- sh"));
        }
        let terminated = |word: OsString| CString::new(word.into_vec());
        match words.into_iter().map(terminated).collect() {
            Ok(words) => Ok(Self { words }),
            Err(_) => Err(Error::new("command", "a word holds a NUL byte")),
        }
    }

    /// The command's name as typed.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.words[0].as_bytes())
    }

    /// Opens the command as this process sees it, found by the PATH of its `environment`, so that it can be
    /// run when the root is another.
    pub(crate) fn open(&self, environment: Option<&[CString]>) -> Result<OwnedFd> {
        program::open(self.name(), environment.map_or_else(|| env::var_os("PATH"), path_of))
    }

    /// Becomes the command, found by PATH as execvp(3) does. Returns only if that failed.
    pub(crate) fn become_it(
        &self,
        inheritance: &Inheritance,
        restore_signals: impl FnOnce() -> Result<()>,
    ) -> Result<Infallible> {
        let doing = || "mark descriptors close-on-exec".to_owned();
        sys::close_on_exec_from(3).doing(doing)?;
        sys::start::closed().try_for_each(sys::close_on_exec).doing(doing)?;
        for fd in inheritance.keep_fds {
            sys::keep_on_exec(*fd).doing(|| format!("--keep-fd {fd}"))?;
        }
        restore_signals()?;
        if let Some(program) = inheritance.program {
            let own = if inheritance.environment.is_none() { own_environment() } else { Vec::new() };
            let environment = inheritance.environment.unwrap_or(&own);
            return execveat(program.as_fd(), c"", &self.words, environment, AtFlags::AT_EMPTY_PATH)
                .doing(|| format!("run {} of the host", self.name().display()))
                .map_err(|error| error.with_status(NOT_RUNNABLE));
        }
        let Some(environment) = inheritance.environment else {
            let path = env::var_os("PATH");
            return execvp(&self.words[0], &self.words).map_err(|errno| explain(self.name(), path, errno));
        };
        let path = path_of(environment);
        self.exec_by(path.clone(), environment).map_err(|errno| explain(self.name(), path, errno))
    }

    /// What execvp(3) does, with another PATH and another environment.
    fn exec_by(&self, path: Option<OsString>, environment: &[CString]) -> nix::Result<Infallible> {
        let mut refused = Errno::ENOENT;
        for file in candidates(self.name(), path) {
            let Ok(file) = CString::new(file.into_os_string().into_vec()) else { continue };
            let Err(errno) = execve(&file, &self.words, environment);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => refused = errno,
                Errno::ENOEXEC => {
                    let shell = [c"/bin/sh".to_owned(), file];
                    let words: Vec<_> = shell.iter().chain(&self.words[1..]).collect();
                    return execve(c"/bin/sh", &words, environment);
                }
                _ => return Err(errno),
            }
        }
        Err(refused)
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>();
        write!(f, "{}", shell_words::join(words))
    }
}

fn path_of(environment: &[CString]) -> Option<OsString> {
    let path = environment.iter().find_map(|word| word.as_bytes().strip_prefix(b"PATH="));
    path.map(|path| OsStr::from_bytes(path).to_owned())
}

/// The environment of this process, in the words of environ(7).
pub(crate) fn own_environment() -> Vec<CString> {
    let word = |(name, value): (OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
    env::vars_os().filter_map(|variable| CString::new(word(variable)).ok()).collect()
}

/// Why exec failed: the same errno means "not found", or a script whose interpreter is missing.
pub(crate) fn explain(name: &OsStr, path: Option<OsString>, errno: Errno) -> Error {
    let shown = name.display();
    let found = candidates(name, path).find(|file| file.exists());
    let error = Error::os(format!("run {shown}"), errno);
    match (errno, found) {
        (Errno::ENOENT | Errno::ENOTDIR, None) => error.with_status(NOT_FOUND),
        (Errno::ENOENT, Some(path)) => {
            let error = error.with_status(NOT_RUNNABLE);
            match interpreter(&path) {
                Some(missing) => error.words(format!("its interpreter {missing} is missing")),
                None => error
                    .words("its dynamic loader is missing")
                    .hint("link it statically or add its libraries"),
            }
        }
        (Errno::EACCES, Some(path)) if path.is_dir() => {
            error.words("it is a directory").with_status(NOT_RUNNABLE)
        }
        (Errno::EACCES, Some(path)) if eaccess(&path, AccessFlags::X_OK).is_ok() => {
            let hint = "its mode lets it, so a rule forbids it, or its interpreter or dynamic loader: \
                        those of --landlock let run what is below exec: and ro:";
            error.hint(hint).with_status(NOT_RUNNABLE)
        }
        (Errno::EACCES, Some(_)) => {
            error.hint("is it executable, and its filesystem not noexec?").with_status(NOT_RUNNABLE)
        }
        _ => error.with_status(NOT_RUNNABLE),
    }
}

/// The files that execvp(3) tries for `name`, whether they are there or not.
pub(crate) fn candidates(name: &OsStr, path: Option<OsString>) -> impl Iterator<Item = PathBuf> {
    let is_path = name.as_bytes().contains(&b'/');
    // What execvp(3) searches without PATH.
    let path = path.filter(|_| !is_path).unwrap_or_else(|| if is_path { "" } else { "/bin:/usr/bin" }.into());
    let dirs: Vec<_> = env::split_paths(&path).collect();
    // An empty name in PATH is the working directory, and so is joined to one.
    dirs.into_iter().map(move |dir| dir.join(name))
}

/// The interpreter on the file's `#!` line.
fn interpreter(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    // The kernel reads no further than BINPRM_BUF_SIZE, 256 bytes (include/uapi/linux/binfmts.h).
    let mut start = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // The kernel takes spaces and tabs away, but not a carriage return (load_script() in fs/binfmt_script.c).
    String::from_utf8_lossy(line).split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned)
}
