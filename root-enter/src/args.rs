//! What the command line says: the new root, and what is put into it.

use std::ffi::OsString;

use chain::{Error, Job, Operands, Options, Propagation, Result, Tool};
use clap::Parser;

use crate::{Details, Entries, RootEnter};

/// Make a directory the root, for a command
#[derive(Debug, Parser)]
#[command(name = "root-enter", version, override_usage = "root-enter [OPTIONS] DIR [--] NEXT [ARG...]")]
#[command(after_help = "\
DIR gets a new /proc and a minimal /dev; what was mounted outside is gone. DIR may be /.
In SRC, DST and TEXT a colon is written \\: and a backslash \\\\; options have commas between them.
Example: root-enter --bind data:/var/lib/data --tmpfs /tmp rootfs -- sh")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    entries: Entries,
    #[command(flatten)]
    details: Details,
    /// What is mounted outside below a bind, and the reverse: private, slave, shared, unchanged
    #[arg(long, value_name = "HOW", hide_possible_values = true, help_heading = "The new root")]
    propagation: Option<Propagation>,
    /// The new root, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(root) = operands.settings.into_iter().next() else {
            return Err(Error::new("no root", "").hint("name the directory that becomes /"));
        };
        let propagation = self.propagation.unwrap_or(Propagation::Private);
        let link = RootEnter::new(root.into(), self.entries).with(self.details).with_propagation(propagation);
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        ffi::OsStr,
        os::unix::ffi::OsStrExt,
        path::{Component, PathBuf},
    };

    use chain::{Link, Size, mount::MountAttrFlags};
    use clap::ValueEnum;
    use proptest::{collection, option, prelude::*};

    use crate::{Bind, Content, Dir, Entry, From, Owners, Symlink, Text, Tmpfs};
    use chain::IdMap;

    fn place() -> impl Strategy<Value = PathBuf> {
        "/[^\\x00/.][^\\x00]{0,12}"
            .prop_map(PathBuf::from)
            .prop_filter("..", |path| path.components().all(|part| part != Component::ParentDir))
    }

    fn mode() -> impl Strategy<Value = Option<u32>> {
        option::of(0_u32..0o10000)
    }

    fn bind() -> impl Strategy<Value = Entry> {
        let from = prop_oneof![
            "[^\\x00]{1,12}".prop_map(|path| From::Path(path.into())),
            (0..i32::MAX).prop_map(From::Fd)
        ];
        let line = (0_u32..1000, 0_u32..1000, 1_u32..9)
            .prop_map(|(inside, outside, count)| [inside, outside, count]);
        let map = collection::vec(line, 1..3).prop_map(|lines| Owners::Map(IdMap(lines)));
        let map = option::of(prop_oneof![map, Just(Owners::Box)]);
        (from, place(), 0_u32..16, any::<[bool; 3]>(), map).prop_map(
            |(from, to, set, [suid, dev, recursive], id_map)| {
                let set = MountAttrFlags::from_bits_truncate(set);
                let mut clear = MountAttrFlags::empty();
                clear.set(MountAttrFlags::MOUNT_ATTR_NOSUID, suid);
                clear.set(MountAttrFlags::MOUNT_ATTR_NODEV, dev);
                Entry::Bind(Bind { from, to, set, clear: clear.difference(set), recursive, id_map })
            },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let content = prop_oneof![
            "[^\\x00]{0,12}".prop_map(|text| Content::Literal(text.into())),
            (0..i32::MAX).prop_map(Content::Fd)
        ];
        prop_oneof![
            bind(),
            (place(), option::of(any::<u64>().prop_map(Size)), mode())
                .prop_map(|(to, size, mode)| Entry::Tmpfs(Tmpfs { to, size, mode })),
            place().prop_map(Entry::Proc),
            place().prop_map(Entry::Sysfs),
            place().prop_map(Entry::Dev),
            (content, place(), mode(), any::<bool>()).prop_map(|(content, to, mode, read_only)| Entry::File(
                Text { content, to, mode, read_only }
            )),
            ("[^\\x00]{1,12}", place())
                .prop_map(|(target, link)| Entry::Symlink(Symlink { target: target.into(), link })),
            (place(), mode()).prop_map(|(to, mode)| Entry::Dir(Dir { to, mode })),
            place().prop_map(Entry::Mask),
            place().prop_map(Entry::RemountRo),
            prop_oneof![Just(PathBuf::from("/sys/fs/cgroup")), place()].prop_map(Entry::Cgroup),
        ]
    }

    fn details() -> impl Strategy<Value = Details> {
        let chdir = option::of("[^\\x00-][^\\x00]{0,12}".prop_map(PathBuf::from));
        (any::<[bool; 7]>(), chdir, option::of(0_u32..0o1000)).prop_map(|(flags, chdir, umask)| {
            let [no_proc, no_dev, proc_full, root_ro, suid, device_files, host_next] = flags;
            Details { no_proc, no_dev, proc_full, root_ro, suid, device_files, chdir, umask, host_next }
        })
    }

    proptest! {
        #[test]
        fn a_links_words_make_the_same_link(
            root in "[^\\x00-][^\\x00]{0,12}", mut entries in collection::vec(entry(), 0..5), mut details in details(),
            propagation in proptest::sample::select(Propagation::value_variants().to_vec()), net_files in option::of(0_usize..5),
        ) {
            if let Some(at) = net_files {
                entries.insert(at.min(entries.len()), Entry::NetFiles);
            }
            // These are refused together.
            details.no_proc &= !entries.iter().any(|entry| matches!(entry, Entry::Proc(_)));
            details.no_dev &= !entries.iter().any(|entry| matches!(entry, Entry::Dev(_)));
            let link = RootEnter::new(root.into(), Entries(entries.clone())).with(details.clone());
            let link = link.with_propagation(propagation);
            let words = [OsString::from("root-enter")].into_iter().chain(link.words());
            let words = words.chain(["--".into(), "sh".into()]);
            let parsed = Args::try_parse_from(words).expect("parses");
            prop_assert_eq!(&parsed.entries.0, &entries);
            prop_assert_eq!(&parsed.details, &details);
            let Ok(Job::Launch { links, .. }) = parsed.job() else { panic!("not a launch") };
            prop_assert_eq!(links[0].words(), link.words());
            prop_assert_eq!(links[0].steps(), link.steps());
        }

        #[test]
        fn no_value_panics(bytes in collection::vec(any::<u8>(), 0..40), option in 0_usize..4) {
            let option = ["tmpfs", "file", "symlink", "dir"][option];
            let _ = Entry::parse(option, OsStr::from_bytes(&bytes));
        }
    }
}
