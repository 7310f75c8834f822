//! What is known to be secret: keys, passwords and tokens that programs leave in files.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::{
    links::absolute,
    modes::{has_system, is_of_system},
};

/// Below a home directory; box-run(1) has the list too.
const OF_USERS: [&str; 90] = [
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
    ".authinfo",
    ".authinfo.gpg",
    ".Xauthority",
    // Clouds and clusters.
    ".aws",
    ".azure",
    ".boto",
    ".oci",
    ".aliyun",
    ".s3cfg",
    ".fly",
    ".databrickscfg",
    ".snowflake",
    ".kube",
    ".config/gcloud",
    ".config/doctl",
    ".config/hcloud",
    ".config/scw",
    ".config/heroku",
    ".config/rclone",
    ".config/argocd",
    ".config/helm/registry",
    ".docker/config.json",
    ".dockercfg",
    ".config/containers/auth.json",
    ".terraform.d/credentials.tfrc.json",
    ".terraformrc",
    ".pulumi/credentials.json",
    // Code and packages.
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".subversion/auth",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".condarc",
    ".config/pip",
    ".config/pypoetry/auth.toml",
    ".cargo/credentials.toml",
    ".cargo/credentials",
    ".gem/credentials",
    ".local/share/gem/credentials",
    ".bundle/config",
    ".m2/settings.xml",
    ".gradle/gradle.properties",
    ".config/composer/auth.json",
    ".composer/auth.json",
    ".nuget/NuGet/NuGet.Config",
    ".jfrog",
    // Assistants and their models.
    ".config/github-copilot",
    ".codex/auth.json",
    ".claude/.credentials.json",
    ".gemini/oauth_creds.json",
    ".cache/huggingface/token",
    ".kaggle",
    // Databases.
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    // What was typed.
    ".bash_history",
    ".zsh_history",
    ".psql_history",
    ".mysql_history",
    ".python_history",
    ".node_repl_history",
    // Browsers and mail.
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    "snap/firefox",
    "snap/chromium",
    ".var/app/org.mozilla.firefox",
    ".var/app/org.chromium.Chromium",
    ".thunderbird",
    ".msmtprc",
];

/// Of the machine.
const OF_MACHINE: [&str; 13] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/wireguard",
    "/etc/NetworkManager/system-connections",
    "/etc/apt/auth.conf.d",
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
    own.iter()
        .flat_map(|home| of_user(home))
        .chain(of_environment())
        .for_each(|path| all.add(&path, |_| true));
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

/// What variables say about where the caller's are, and the sockets of agents and services, wherever they lie.
fn of_environment() -> impl Iterator<Item = PathBuf> {
    let config = absolute("XDG_CONFIG_HOME");
    let in_config = OF_USERS.iter().filter_map(|secret| secret.strip_prefix(".config/"));
    let in_config = in_config.filter_map(move |secret| Some(config.as_ref()?.join(secret)));
    let docker = env::var_os("DOCKER_HOST").unwrap_or_default();
    let docker =
        docker.as_bytes().strip_prefix(b"unix://").map(|path| PathBuf::from(OsStr::from_bytes(path)));
    let buses = env::var_os("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let one = ["GNUPGHOME", "SSH_AUTH_SOCK"].into_iter().filter_map(absolute);
    in_config.chain(one).chain(docker.filter(|path| path.is_absolute())).chain(bus_sockets(buses.as_bytes()))
}

/// The paths in addresses such as `unix:path=/run/bus,guid=1;tcp:…` (D-Bus Specification, "Server Addresses").
fn bus_sockets(addresses: &[u8]) -> Vec<PathBuf> {
    let addresses =
        addresses.split(|byte| *byte == b';').filter_map(|address| address.strip_prefix(b"unix:"));
    let values = addresses.flat_map(|address| address.split(|byte| *byte == b','));
    let paths = values.filter_map(|value| value.strip_prefix(b"path=")).map(unescaped);
    paths.map(|path| PathBuf::from(OsString::from_vec(path))).filter(|path| path.is_absolute()).collect()
}

/// A value in which `%20` is a space.
fn unescaped(mut value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let [first, rest @ ..] = value {
        let digits = if *first == b'%' { rest.get(..2) } else { None };
        let byte = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        plain.push(byte.unwrap_or(*first));
        value = if byte.is_some() { &rest[2..] } else { rest };
    }
    plain
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

/// Those of all users, and where they are.
pub(crate) fn all_homes() -> impl Iterator<Item = PathBuf> {
    let usual = ["/root", "/home"].map(PathBuf::from);
    let all = own_homes().into_iter().chain(usual).chain(below("/home")).chain(homes_of(|_| true));
    all.map(real).filter(|home| !is_of_system(home))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_what_is_hidden() {
        let page = include_str!("../../man/box-run.1");
        let listed: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix(".It Pa ")).collect();
        for secret in OF_USERS.iter().chain(&OF_MACHINE) {
            assert!(listed.contains(secret), "{secret}");
        }
    }

    #[test]
    fn the_sockets_of_buses_are_found_in_their_addresses() {
        let found = |addresses: &str| bus_sockets(addresses.as_bytes());
        assert_eq!(
            found("tcp:host=x;unix:path=/a%20b%,guid=1;unix:guid=1,path=/c"),
            [Path::new("/a b%"), Path::new("/c")]
        );
        assert!(found("unix:abstract=/a;unix:path=b;").is_empty());
    }
}
