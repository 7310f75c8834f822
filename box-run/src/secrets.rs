//! What is known to be secret: keys, passwords and tokens that programs leave in files.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::links::absolute;

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

/// All that there may be, whether it is there or not, of the machine and of the homes of which something is shown; for
/// root of those of all users.
pub(crate) fn all(is_shown: impl Fn(&Path) -> bool) -> impl Iterator<Item = PathBuf> {
    let mut homes = own_homes();
    if geteuid().is_root() {
        homes.push("/root".into());
        homes.extend(below("/home"));
        // Of services, most of which have nothing there.
        homes.extend(homes_of(|_| true).into_iter().filter(|home| has_dotfiles(home)));
    }
    let homes = homes.into_iter().map(real).filter(move |home| is_shown(home)).collect::<BTreeSet<_>>();
    let of_users = homes.into_iter().flat_map(|home| OF_USERS.map(|secret| real(home.join(secret))));
    let host_keys = below("/etc/ssh").into_iter().filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh_host_") && name.ends_with("_key")
    });
    of_users.chain(OF_MACHINE.map(PathBuf::from)).chain(host_keys)
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
    !crate::modes::is_of_system(home) && below(home).into_iter().any(is_one)
}

fn below(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The path without links, where it exists: what is hidden is the file itself, and not a link to it.
fn real(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}
