//! The host's own tree as the root: each directory in one of four modes, of which the innermost counts.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Result, Size, mount::MountAttrFlags};
use nix::unistd::geteuid;
use ovl_mount::Changes;
use root_enter::{Bind, Details, Entry, From, Tmpfs};

use crate::{args::Loosened, secrets, walk::Walk};

/// What an empty directory in memory may take.
const HIDDEN: Size = Size(64 << 20);

/// What every machine has, and nothing runs without.
const SYSTEM: [&str; 9] = ["/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr"];

/// How directories of the host are seen.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "The host's tree, without --root; the innermost counts")]
pub(crate) struct Modes {
    /// Show a directory or a file read-only, as all is that is not hidden; may be repeated, as the others
    #[arg(long, value_name = "DIR")]
    ro: Vec<PathBuf>,
    /// Let it be written
    #[arg(long, value_name = "DIR")]
    rw: Vec<PathBuf>,
    /// Show it empty: $HOME and /run are, and /tmp is the box's own
    #[arg(long, value_name = "DIR")]
    hide: Vec<PathBuf>,
    /// Let it be written, but throw the changes away, or keep them in --upper
    #[arg(long, value_name = "DIR")]
    over: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    ReadOnly,
    Writable,
    /// Empty, with these permissions.
    Hidden(u32),
    Over,
}

impl Mode {
    /// What it makes of a path.
    fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "read",
            Self::Writable => "written",
            Self::Hidden(_) => "hidden",
            Self::Over => "changed",
        }
    }
}

/// A path that was given a mode.
struct Given<'a> {
    /// As it was typed.
    path: &'a Path,
    mode: Mode,
    option: &'static str,
    /// Without links. It is looked up once: what is judged is what is shown.
    real: PathBuf,
    /// The link that leads somewhere else, and where to.
    out: Option<(PathBuf, PathBuf)>,
}

impl<'a> Given<'a> {
    fn find((path, mode, option): (&'a PathBuf, Mode, &'static str)) -> Result<Self> {
        let Walk { real, out } = Walk::of(path).doing(|| format!("{option} {}", path.display()))?;
        let given = Self { path, mode, option, real, out };
        given.refuse_kernels()?;
        Ok(given)
    }

    /// Of what the kernel shows there a box has its own: the host's is about all processes and devices.
    fn refuse_kernels(&self) -> Result<()> {
        let hint = match self.real.to_str() {
            _ if matches!(self.mode, Mode::Hidden(_)) => return Ok(()),
            Some("/sys") => "use --sysfs /sys",
            _ if self.real.starts_with("/proc") => "use --proc-full",
            _ => return Ok(()),
        };
        Err(Error::new(self.to_string(), "it would be the host's").hint(hint))
    }

    /// A link in a repository or an archive could open any directory to be written.
    fn refuse_link(&self) -> Result<()> {
        match (&self.out, self.mode) {
            (Some((link, to)), Mode::Writable | Mode::Over) => {
                let why =
                    format!("the link {} leads to {}, out of its directory", link.display(), to.display());
                let hint = format!("name that, if it is to be {}", self.mode.word());
                Err(Error::new(self.to_string(), why).hint(hint))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.option, self.path.display())
    }
}

/// What is to be put together.
pub(crate) struct Tree {
    /// What is mounted over directories before, and where its changes go.
    pub(crate) over: Vec<(PathBuf, Changes)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) shown: Shown,
}

/// What is seen of the host's tree.
pub(crate) struct Shown(BTreeMap<PathBuf, Mode>);

impl Shown {
    /// What to do about a command that the caller has by its PATH and the box has not.
    pub(crate) fn where_hidden(&self, name: &OsStr) -> Option<String> {
        let path = env::var_os("PATH").filter(|_| !name.as_bytes().contains(&b'/'))?;
        let dir = env::split_paths(&path).find(|dir| dir.join(name).is_file())?;
        let dir = fs::canonicalize(dir).ok().filter(|dir| is_hidden(&self.0, dir))?;
        // A program of ~/.cargo/bin needs more of ~/.cargo, and one of ~/bin nothing of the home.
        let is_of_tool =
            |above: &&Path| above.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let above = dir.parent().filter(|_| dir.ends_with("bin")).filter(is_of_tool);
        let (dir, show) = (dir.display(), above.unwrap_or(&dir).display());
        Some(format!("it is in {dir}, which the box does not show; --ro {show} shows it"))
    }
}

impl Modes {
    fn given(&self) -> impl Iterator<Item = (&PathBuf, Mode, &'static str)> {
        let all = [
            (&self.ro, Mode::ReadOnly, "--ro"),
            (&self.rw, Mode::Writable, "--rw"),
            (&self.hide, Mode::Hidden(0o755), "--hide"),
            (&self.over, Mode::Over, "--over"),
        ];
        all.into_iter().flat_map(|(paths, mode, option)| paths.iter().map(move |path| (path, mode, option)))
    }

    /// All that have one.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.given().map(|(path, ..)| path.as_path())
    }

    /// Whether something is said to be written.
    pub(crate) fn has_rw(&self) -> bool {
        !self.rw.is_empty()
    }

    /// With a root of its own a box has nothing of the host's tree.
    pub(crate) fn refuse_with_root(&self) -> Result<()> {
        match self.given().next() {
            Some((path, _, option)) => Err(Error::new(
                format!("{option} {}", path.display()),
                "it is about the host's tree, and the box has another root",
            )
            .hint("leave out --root and --lower, or use --bind and --ro-bind")),
            None => Ok(()),
        }
    }
}

/// The modes of all that has one, and what they come to.
pub(crate) fn tree(
    modes: &Modes,
    changes: &Changes,
    allow: &Loosened,
    details: &mut Details,
) -> Result<Tree> {
    let given = modes.given().map(Given::find).collect::<Result<Vec<_>>>()?;
    let mut named = BTreeMap::new();
    for given in &given {
        if named.insert(given.real.clone(), given.mode).is_some_and(|other| other != given.mode) {
            let why = format!("{} has another mode as well", given.real.display());
            return Err(Error::new(given.to_string(), why));
        }
    }
    let root = named.remove(Path::new("/")).unwrap_or(Mode::ReadOnly);
    match root {
        Mode::ReadOnly => details.root_ro = true,
        Mode::Writable => {}
        Mode::Hidden(_) => return Err(Error::new("--hide /", "nothing would be left to run")),
        Mode::Over => {
            return Err(Error::new("--over /", "what is mounted below it would be missing")
                .hint("name directories, or use --root / --tmp or ovl-mount --whole"));
        }
    }
    let mut all = usual();
    all.retain(|path, _| !named.contains_key(path));
    let seen: BTreeMap<_, _> = all.iter().chain(&named).map(|(path, mode)| (path.clone(), *mode)).collect();
    if !allow.allow_secrets {
        let shown =
            || named.iter().filter(|(_, mode)| !matches!(mode, Mode::Hidden(_))).map(|(path, _)| path);
        // What is named in a secret directory is put into the empty one.
        let is_named = |secret: &Path| shown().any(|path| path == secret);
        let secrets = secrets::all();
        for given in given.iter().filter(|given| !matches!(given.mode, Mode::Hidden(_))) {
            let Ok(typed) = std::path::absolute(given.path) else { continue };
            // A link may be of somebody who would like to see it.
            let into = |secret: &&PathBuf| given.real.starts_with(secret) && !typed.starts_with(secret);
            if let Some(secret) = secrets.known.iter().find(into) {
                let why = format!("a link leads to {}, which is hidden unless it is named", secret.display());
                let hint = format!("name it, if it is to be {}", given.mode.word());
                return Err(Error::new(given.to_string(), why).hint(hint));
            }
        }
        if let Some(given) = given
            .iter()
            .find(|given| !matches!(given.mode, Mode::Hidden(_)) && secrets.closed.contains(&given.real))
        {
            return Err(Error::new(
                given.to_string(),
                "it is closed, so that what is secret in it is not found",
            )
            .hint("open it with chmod u+x, or add --allow-secrets"));
        }
        let to_hide = secrets.known.into_iter().filter(|secret| !is_named(secret)).chain(secrets.closed);
        let to_hide = to_hide.filter(|path| !is_hidden(&seen, path));
        all.extend(to_hide.map(|path| (path, Mode::Hidden(0o700))));
    }
    given.iter().try_for_each(Given::refuse_link)?;
    // What is hidden already need not be hidden again, and is not there to be.
    let modes: BTreeMap<_, _> = all.iter().chain(&named).map(|(path, mode)| (path.clone(), *mode)).collect();
    let is_in_hidden = |path: &Path| path.parent().is_some_and(|dir| is_hidden(&modes, dir));
    named.retain(|path, mode| !matches!(mode, Mode::Hidden(_)) || !is_in_hidden(path));
    all.append(&mut named);
    if details.chdir.is_none() {
        details.chdir = Some(working_dir(&all)?);
    }
    let over: Vec<_> =
        all.iter().filter(|(_, mode)| **mode == Mode::Over).map(|(path, _)| path.clone()).collect();
    let over = changes_of(over, changes)?;
    // In the order of their names what lies in another comes after it.
    let mut entries = vec![Entry::Mask("/sys".into())];
    entries.extend(all.iter().map(|(path, mode)| entry(path.clone(), *mode)));
    Ok(Tree { over, entries, shown: Shown(all) })
}

/// What is hidden unless something else is said: what is private to the user, or to all that root could read; the
/// sockets of services and agents; and the files of others for a while.
fn usual() -> BTreeMap<PathBuf, Mode> {
    let mut hidden = vec![("/run".into(), 0o755), ("/tmp".into(), 0o1777)];
    hidden.extend(secrets::own_homes().into_iter().map(|home| (home, 0o755)));
    if geteuid().is_root() {
        hidden.extend([("/root".into(), 0o755), ("/home".into(), 0o755)]);
    }
    let real = |(path, mode): (PathBuf, u32)| Some((fs::canonicalize(path).ok()?, Mode::Hidden(mode)));
    hidden.into_iter().filter_map(real).filter(|(path, _)| !is_of_system(path)).collect()
}

/// Whether nothing could run without it. Services have homes such as /usr/sbin, /dev and /.
pub(crate) fn is_of_system(path: &Path) -> bool {
    has_system(path) || path == Path::new("/var") || SYSTEM.iter().any(|dir| path.starts_with(dir))
}

/// Whether such a directory is in it, or is it.
pub(crate) fn has_system(path: &Path) -> bool {
    SYSTEM.iter().any(|dir| Path::new(dir).starts_with(path))
}

/// Whether the innermost directory around it, or it itself, is hidden.
fn is_hidden(modes: &BTreeMap<PathBuf, Mode>, path: &Path) -> bool {
    let innermost = path.ancestors().find_map(|dir| modes.get(dir));
    matches!(innermost, Some(Mode::Hidden(_)))
}

/// The caller's, if it is in the box.
fn working_dir(modes: &BTreeMap<PathBuf, Mode>) -> Result<PathBuf> {
    let dir = env::current_dir().doing(|| "working directory".into())?;
    if is_hidden(modes, &dir) && !modes.contains_key(&dir) {
        return Err(Error::new(format!("working directory {}", dir.display()), "it is hidden in the box")
            .hint("show it with --rw . or --ro ., or go elsewhere with --chdir /"));
    }
    Ok(dir)
}

fn changes_of(over: Vec<PathBuf>, changes: &Changes) -> Result<Vec<(PathBuf, Changes)>> {
    match (changes, over.as_slice()) {
        (Changes::ReadOnly, _) => {
            let size =
                ovl_mount::MemorySize::USUAL.parse().map_err(|why: String| Error::new("--over", why))?;
            Ok(over.into_iter().map(|dir| (dir, Changes::Tmp { size })).collect())
        }
        (_, []) => Err(Error::new("--tmp, --upper", "nothing whose changes they could take")
            .hint("name what may be changed with --over DIR, or another root with --root")),
        (Changes::Upper { .. }, [_, _, ..]) => {
            Err(Error::new("--upper", "it takes the changes of one directory")
                .hint("name one --over, or leave out --upper"))
        }
        _ => Ok(over.into_iter().map(|dir| (dir, changes.clone())).collect()),
    }
}

fn entry(path: PathBuf, mode: Mode) -> Entry {
    let bind = |from, set| Entry::Bind(Bind { set, ..Bind::new(from, path.clone()) });
    match mode {
        Mode::ReadOnly => bind(From::Real(path.clone()), MountAttrFlags::MOUNT_ATTR_RDONLY),
        Mode::Writable => bind(From::Real(path.clone()), MountAttrFlags::empty()),
        // If it were the directory below the overlay, what is to be thrown away would be written there.
        Mode::Over => bind(From::Mounted(path.clone()), MountAttrFlags::empty()),
        Mode::Hidden(mode) if path.is_dir() => {
            Entry::Tmpfs(Tmpfs { to: path, size: Some(HIDDEN), mode: Some(mode) })
        }
        Mode::Hidden(_) => Entry::Mask(path),
    }
}
