//! The list as a program that is attached to the group. It lives as long as the group. Those of the groups
//! above are asked too: who may open a device is allowed to by all of them (BPF_F_ALLOW_MULTI).

use std::{fs::File, os::fd::OwnedFd, path::Path};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use super::{Devices, bpf, program};

/// How often another cg-set is let change the group first.
const TRIES: u32 = 100;
const NOT_ROOT: &str = "run as root: it needs CAP_BPF and CAP_NET_ADMIN, and not only in a user namespace";
const NO_KERNEL: &str = "the kernel needs CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL";
const ALONE: &str =
    "a program of another is attached to this group or to one above it that lets no other beside it";

/// Restricts a group. A program of ours that is there is replaced, in one step; others' stay.
pub(super) fn set(devices: &Devices, dir: &Path) -> Result<()> {
    let group = open(dir)?;
    let new = devices.list().map(|list| load(&program::of(&list), &devices.to_string())).transpose()?;
    let mut tries = 0;
    let (before, rest) = loop {
        let before = bpf::effective(&group).doing(|| ask(dir))?;
        let mut ours = ours(&group).doing(|| ask(dir)).remedy(Errno::EPERM, NOT_ROOT)?;
        let Some(new) = &new else { break (before, ours) };
        let old = (!ours.is_empty()).then(|| ours.remove(0));
        match bpf::attach(&group, new, old.as_ref().map(|(_, program)| program)) {
            // Another cg-set has replaced it meanwhile.
            Err(Errno::ENOENT) if tries < TRIES => tries += 1,
            attached => {
                attached
                    .doing(|| format!("attach a program to {}", dir.display()))
                    .remedy(Errno::EPERM, ALONE)?;
                let gone = old.map_or(0, |(id, _)| id);
                break (before.into_iter().filter(|id| *id != gone).collect(), ours);
            }
        }
    };
    if let Some(new) = &new
        && let Err(error) = still_hold(&before, &group, dir)
    {
        let _ = bpf::detach(&group, new);
        return Err(error);
    }
    for (_, program) in &rest {
        match bpf::detach(&group, program) {
            Err(errno) if errno != Errno::ENOENT => {
                return Err(errno).doing(|| format!("take a program off {}", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fails if a program does not hold any more that did: one of a group above that yields to those below it
/// (BPF_F_ALLOW_OVERRIDE), which cannot be seen from here before.
fn still_hold(before: &[u32], group: &File, dir: &Path) -> Result<()> {
    let now = bpf::effective(group).doing(|| ask(dir))?;
    match before.iter().find(|id| !now.contains(id)) {
        None => Ok(()),
        Some(id) => Err(Error::new(
            format!("attach a program to {}", dir.display()),
            format!("program {id} of a group above would not hold any more"),
        )
        .hint("whoever attached it can let it hold with BPF_F_ALLOW_MULTI")),
    }
}

fn load(program: &[program::Instruction], text: &str) -> Result<OwnedFd> {
    let refused = |(errno, words): (Errno, String)| {
        // What the kernel gives a kind of program that it does not know, without a word.
        let is_unknown = words.is_empty() && matches!(errno, Errno::EINVAL | Errno::ENOSYS);
        let error = Error::os("give the kernel a program for devices", errno).words(words);
        if is_unknown { error.hint(NO_KERNEL) } else { error }
    };
    let program = bpf::load(bpf::NAME, program).map_err(refused).remedy(Errno::EPERM, NOT_ROOT).remedy(
        Errno::E2BIG,
        "the list is too long for the kernel to check; name whole drivers, such as +c7:*:rw",
    )?;
    bpf::keep_text(&program, text).doing(|| "keep the list of devices with its program".into())?;
    Ok(program)
}

/// What a group is restricted to by us, if it can be told.
pub(super) fn get(dir: &Path) -> Option<Devices> {
    let ours = ours(&open(dir).ok()?).ok()?;
    let (_, program) = ours.first()?;
    Devices::parse(&bpf::text(program).ok()?).ok()
}

/// The programs that are attached to a group and are ours, by their numbers.
fn ours(group: &File) -> nix::Result<Vec<(u32, OwnedFd)>> {
    let mut ours = Vec::new();
    for id in bpf::attached(group)? {
        match bpf::program(id) {
            Ok(program) if bpf::is_ours(&program)? => ours.push((id, program)),
            // It was taken off just now.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(ours)
}

fn open(dir: &Path) -> Result<File> {
    File::open(dir).doing(|| format!("open the group {}", dir.display()))
}

fn ask(dir: &Path) -> String {
    format!("find the programs of {}", dir.display())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, process::Command};

    use chain_testing::{Scene, on_v2, wait_until};

    use super::*;

    const ALLOW_OVERRIDE: u32 = 1;
    const ALLOW_MULTI: u32 = 2;

    /// A group of the v2 tree, which is without the devices of v1 on any machine. It must go before the scene.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            let root = if on_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
            Self::make(Path::new(root).join("chainbox-test"))
        }

        fn below(&self, name: &str) -> Self {
            Self::make(self.0.join(name))
        }

        fn make(dir: PathBuf) -> Self {
            fs::create_dir(&dir).expect("group");
            Self(dir)
        }

        fn set(&self, devices: &str) -> Result<()> {
            set(&Devices::parse(devices).expect("devices"), &self.0)
        }

        /// Which of these devices can be read there.
        fn may_read(&self, devices: &str) -> String {
            let script = format!(
                "echo $$ > {}/cgroup.procs; for device in {devices}; do (: < /dev/$device) 2>&- && echo $device; done",
                self.0.display()
            );
            let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
            String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
        }

        fn programs(&self) -> Vec<u32> {
            bpf::attached(&self.open()).expect("programs")
        }

        fn open(&self) -> File {
            open(&self.0).expect("group")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // The kernel may need a moment after the last process.
            let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < end {}
        }
    }

    /// A program that is not ours, and allows this list.
    fn foreign(devices: &str) -> OwnedFd {
        let list = Devices::parse(devices).expect("devices").list().expect("not all");
        bpf::load(*b"another\0\0\0\0\0\0\0\0\0", &program::of(&list)).expect("a program")
    }

    #[test]
    fn the_kernel_asks_the_program_and_shows_its_list() {
        let _scene = Scene::new();
        let place = Place::new();
        assert_eq!((place.may_read("null zero"), get(&place.0)), ("null zero".into(), None));
        for (list, allowed) in [("none", ""), ("none,+c1:3:r", "null"), ("std,+b8:*:rm", "null zero")] {
            place.set(list).expect("set");
            assert_eq!(place.may_read("null zero"), allowed, "{list}");
            assert_eq!(get(&place.0).map(|devices| devices.to_string()), Some(list.into()));
            assert_eq!(place.programs().len(), 1);
        }
        place.set("all").expect("set");
        assert_eq!((place.may_read("null zero"), get(&place.0)), ("null zero".into(), None));
        assert_eq!(place.programs().len(), 0);
    }

    #[test]
    fn what_others_have_attached_to_the_group_or_above_it_stays_and_holds() {
        let _scene = Scene::new();
        let above = Place::new();
        let place = above.below("inner");
        bpf::attach(&above.open(), &foreign("none,+c1:3:r,+c1:5:r"), None).expect("attach");
        bpf::attach_with(ALLOW_MULTI, &place.open(), &foreign("none,+c1:3:r,+c1:7:r"), None).expect("attach");
        place.set("none,+c1:3:r,+c1:5:r,+c1:7:r,+c1:9:r").expect("set");
        assert_eq!(place.may_read("null zero full urandom"), "null");
        place.set("none,+c1:5:r").expect("set");
        assert_eq!((place.may_read("null zero full urandom"), place.programs().len()), (String::new(), 2));
        place.set("all").expect("set");
        assert_eq!((place.may_read("null zero full urandom"), place.programs().len()), ("null".into(), 1));
    }

    #[test]
    fn a_program_above_that_would_yield_to_ours_is_not_made_to() {
        let _scene = Scene::new();
        let above = Place::new();
        let place = above.below("inner");
        let other = foreign("none,+c1:3:r");
        bpf::attach_with(ALLOW_OVERRIDE, &above.open(), &other, None).expect("attach");
        let error = place.set("none,+c1:5:r").expect_err("it would widen");
        assert!(error.to_string().contains("of a group above would not hold any more"), "{error}");
        assert_eq!((place.may_read("null zero"), place.programs().len()), ("null".into(), 0));
        bpf::detach(&above.open(), &other).expect("detach");
        bpf::attach_with(0, &above.open(), &other, None).expect("attach");
        let error = place.set("none,+c1:5:r").expect_err("it is alone");
        assert!(error.to_string().contains("Operation not permitted; a program of another"), "{error}");
    }

    #[test]
    fn the_program_goes_with_the_group() {
        let _scene = Scene::new();
        let place = Place::new();
        place.set("none").expect("set");
        let id = place.programs()[0];
        assert!(bpf::program(id).is_ok());
        drop(place);
        wait_until("the program is gone", || bpf::program(id).is_err());
    }

    #[test]
    fn a_list_of_a_thousand_is_taken() {
        let _scene = Scene::new();
        let place = Place::new();
        let rules: Vec<_> = (0..1_000).map(|minor| format!("+c{}:{minor}:rw", 7 + minor % 9)).collect();
        place.set(&format!("{},+c1:3:r", rules.join(","))).expect("set");
        assert_eq!(place.may_read("null zero"), "null");
    }
}
