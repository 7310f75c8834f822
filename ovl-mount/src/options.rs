//! The options of an overlay, as overlayfs names them (Documentation/filesystems/overlayfs.rst of the kernel).

use std::{ffi::OsString, fmt, str::FromStr};

/// How the overlay works. What is not given is as the kernel is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Options of the overlay")]
pub struct MountOptions {
    /// Whether a directory of a lower layer can be renamed, and whether such renames are followed
    #[arg(long, value_name = "HOW")]
    redirect_dir: Option<RedirectDir>,
    /// Whether a change of a file's owner, mode or times leaves its data where it is
    #[arg(long, value_name = "HOW")]
    metacopy: Option<Switch>,
    /// Whether hard links of lower layers stay together, and two uses of an upper are refused
    #[arg(long, value_name = "HOW")]
    index: Option<Switch>,
    /// Whether inode numbers tell the layers apart
    #[arg(long, value_name = "HOW")]
    xino: Option<Xino>,
    /// Do not wait for the disk, as with --tmp: faster, but after a crash the changes are lost
    #[arg(long)]
    volatile: bool,
    /// Keep the overlay's own marks in user.overlay.*, as in a user namespace
    #[arg(long)]
    userxattr: bool,
    /// Any other option of the kernel's; may be repeated, or several with commas between them
    #[arg(short = 'o', value_name = "NAME[=VALUE]", value_delimiter = ',')]
    others: Vec<Other>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RedirectDir {
    On,
    Off,
    Follow,
    Nofollow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Xino {
    On,
    Off,
    Auto,
}

/// An option that has no name here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    name: String,
    value: Option<String>,
}

impl FromStr for Other {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        match name {
            "" => Err("no option; write NAME or NAME=VALUE".into()),
            "lowerdir" | "lowerdir+" | "datadir+" => Err("layers are given with -l".into()),
            "upperdir" => Err("the upper layer is given with -u".into()),
            "workdir" => Err("the work directory is given with -w".into()),
            // fsconfig(2) takes strings of up to 255 bytes.
            _ if text.len() > 255 => Err("longer than the 255 bytes that the kernel takes".into()),
            _ => Ok(Self { name: name.to_owned(), value: value.map(str::to_owned) }),
        }
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Those that fuse-overlayfs(1) leaves out without failing.
const OF_KERNEL: [&str; 7] = ["metacopy", "index", "xino", "nfs_export", "uuid", "verity", "override_creds"];

/// An option as the kernel takes it.
pub(crate) type Pair = (String, Option<String>);

impl MountOptions {
    /// The changes are thrown away, so nobody waits for the disk.
    pub(crate) fn made_volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// As it must be for a process that may not write trusted.overlay.* (user_namespaces(7)).
    pub(crate) fn made_for_user_namespace(mut self) -> Self {
        self.userxattr = true;
        self
    }

    /// Those that have a name here.
    fn named(&self) -> Vec<(&'static str, Option<String>)> {
        let named = [
            ("redirect-dir", self.redirect_dir.as_ref().map(word)),
            ("metacopy", self.metacopy.as_ref().map(word)),
            ("index", self.index.as_ref().map(word)),
            ("xino", self.xino.as_ref().map(word)),
        ];
        let switches = [("volatile", self.volatile), ("userxattr", self.userxattr)];
        let named = named.into_iter().filter(|(_, value)| value.is_some());
        named.chain(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, None))).collect()
    }

    /// Each as it is written, with the kernel's name.
    fn written(&self) -> impl Iterator<Item = (String, String)> {
        let named = self.named().into_iter().map(|(name, _)| (format!("--{name}"), name.replace('-', "_")));
        named.chain(self.others.iter().map(|other| (format!("-o {other}"), other.name.clone())))
    }

    /// The first one that is given, as it is written.
    pub(crate) fn first(&self) -> Option<String> {
        self.written().next().map(|(word, _)| word)
    }

    /// The first one that only the kernel's overlay has, as it is written.
    pub(crate) fn first_of_kernel(&self) -> Option<String> {
        self.written().find(|(_, name)| OF_KERNEL.contains(&name.as_str())).map(|(word, _)| word)
    }

    /// All, as the kernel takes them.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let named = self.named().into_iter().map(|(name, value)| (name.replace('-', "_"), value));
        named.chain(self.others.iter().map(|other| (other.name.clone(), other.value.clone()))).collect()
    }

    /// The words that give them to the lone tool.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let named = self.named().into_iter().map(|(name, value)| match value {
            Some(value) => vec![format!("--{name}={value}").into()],
            None => vec![format!("--{name}").into()],
        });
        let others = self.others.iter().map(|other| vec!["-o".into(), other.to_string().into()]);
        named.chain(others).flatten().collect()
    }
}

fn word(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::ValueEnum;
    use proptest::{option, prelude::*, sample::select};

    fn one_of<T: ValueEnum + Clone + fmt::Debug + 'static>() -> impl Strategy<Value = Option<T>> {
        option::of(select(T::value_variants()))
    }

    pub(crate) fn any_options() -> impl Strategy<Value = MountOptions> {
        let other = ("[a-km-tv-z_]{1,8}", option::of("[^,\\x00]{0,8}"));
        let others = proptest::collection::vec(other.prop_map(|(name, value)| Other { name, value }), 0..3);
        (one_of(), one_of(), one_of(), one_of(), any::<(bool, bool)>(), others).prop_map(
            |(redirect_dir, metacopy, index, xino, (volatile, userxattr), others)| MountOptions {
                redirect_dir,
                metacopy,
                index,
                xino,
                volatile,
                userxattr,
                others,
            },
        )
    }

    #[test]
    fn the_kernel_gets_its_own_names() {
        let options = MountOptions {
            redirect_dir: Some(RedirectDir::Nofollow),
            volatile: true,
            others: vec!["nfs_export=on".parse().expect("an option")],
            ..MountOptions::default()
        };
        let pairs = options.pairs();
        let shown: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(
            shown,
            [("redirect_dir", Some("nofollow")), ("volatile", None), ("nfs_export", Some("on"))]
        );
    }

    #[test]
    fn layers_are_no_options() {
        for text in ["", "=x", "lowerdir=/a", "upperdir=/a", "workdir=/a", "lowerdir+=/a"] {
            assert!(text.parse::<Other>().is_err(), "{text}");
        }
    }
}
