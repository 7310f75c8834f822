//! What is known to be secret: keys, passwords and tokens that programs leave in files.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::{
    links::absolute,
    modes::{has_system, is_of_system},
};

/// Below a home directory.
const OF_USERS: [&str; 38] = [
    // Keys for other machines and for signing.
    ".ssh",
    ".gnupg",
    ".pki",
    ".age",
    ".config/age",
    ".config/sops",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".config/op",
    ".vault-token",
    // Clouds and clusters.
    ".aws",
    ".azure",
    ".boto",
    ".config/gcloud",
    ".config/doctl",
    ".kube",
    ".docker/config.json",
    ".config/containers/auth.json",
    ".terraform.d/credentials.tfrc.json",
    // Code and packages.
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/hub",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials.toml",
    ".cargo/credentials",
    ".gem/credentials",
    ".m2/settings.xml",
    ".config/composer/auth.json",
    // Databases.
    ".pgpass",
    ".my.cnf",
    // Browsers and mail.
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".thunderbird",
];

/// Of the machine.
const OF_MACHINE: [&str; 7] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/ssl/private",
    "/etc/wireguard",
    "/etc/NetworkManager/system-connections",
];

/// What there is to hide.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Without links: what is hidden is the file itself, and not a link to it.
    pub(crate) known: BTreeSet<PathBuf>,
    /// Directories that the caller may not look into, but root in the box may, where there may be secrets.
    pub(crate) closed: BTreeSet<PathBuf>,
}

/// All that there is, of the machine and of the caller's homes; for root of those of all users. A home that is hidden
/// counts as well: a link may lead out of it.
pub(crate) fn all() -> Secrets {
    let own = own_homes().into_iter().map(real).collect::<BTreeSet<_>>();
    let mut others = BTreeSet::new();
    if geteuid().is_root() {
        others.insert("/root".into());
        others.extend(below("/home").into_iter().map(real));
        // Of services, most of which have nothing there.
        others.extend(homes_of(|_| true).into_iter().filter(|home| has_dotfiles(home)).map(real));
    }
    let host_keys = below("/etc/ssh").into_iter().filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh_host_") && name.ends_with("_key")
    });
    let mut all = Secrets::default();
    own.iter().flat_map(|home| of_user(home)).for_each(|path| all.add(&path, |_| true));
    for home in others.difference(&own) {
        // Nobody hides from root what is not their own.
        let is_theirs = |path: &Path| path.starts_with(home) || is_of_same(home, path);
        of_user(home).for_each(|path| all.add(&path, is_theirs));
    }
    OF_MACHINE.iter().map(PathBuf::from).chain(host_keys).for_each(|path| all.add(&path, |_| true));
    all
}

impl Secrets {
    /// Adds what is at the path, whether the caller may read it or not: its permissions do not hold for who is root in
    /// the box.
    fn add(&mut self, path: &Path, is_wanted: impl Fn(&Path) -> bool) {
        let mut to_add = |found: &Path, known: bool| {
            let found = real(found.into());
            // Else nothing would be left to run.
            if is_wanted(&found) && !has_system(&found) {
                if known { &mut self.known } else { &mut self.closed }.insert(found);
            }
        };
        for dir in path.ancestors() {
            match fs::metadata(dir) {
                Ok(_) => return to_add(dir, dir == path),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // A link there may lead into what is closed.
                    if let Ok(target) = fs::read_link(dir) {
                        return self.add(&dir.parent().unwrap_or(dir).join(target), is_wanted);
                    }
                }
                Err(_) => return,
            }
        }
    }
}

fn of_user(home: &Path) -> impl Iterator<Item = PathBuf> {
    OF_USERS.iter().map(|secret| home.join(secret))
}

/// Whether both belong to the same user.
fn is_of_same(one: &Path, other: &Path) -> bool {
    let user = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.uid());
    user(one) == user(other)
}

/// The caller's home directories: that of the environment, which need not be there, and that of /etc/passwd.
pub(crate) fn own_homes() -> Vec<PathBuf> {
    let own = geteuid().to_string();
    absolute("HOME").into_iter().chain(homes_of(|uid| uid == own.as_bytes())).collect()
}

/// The home directories of users by their numbers (passwd(5)).
fn homes_of(is_wanted: impl Fn(&[u8]) -> bool) -> Vec<PathBuf> {
    let users = fs::read("/etc/passwd").unwrap_or_default();
    let home = |line: &[u8]| {
        let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
        let home = PathBuf::from(OsStr::from_bytes(fields.get(5)?));
        (is_wanted(fields[2]) && home.is_absolute()).then_some(home)
    };
    users.split(|byte| *byte == b'\n').filter_map(home).collect()
}

fn has_dotfiles(home: &Path) -> bool {
    let is_one = |path: PathBuf| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    !is_of_system(home) && below(home).into_iter().any(is_one)
}

fn below(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The path without links, where it can be found.
fn real(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}
