//! `ovl-commit` after anything that can be done in an overlay, and killed at any moment.

use std::{
    cell::Cell,
    fs,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use chain_testing::{Scene, slowness, walk};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

/// Something that is done with files; what fails is left.
#[derive(Debug, Clone)]
enum Deed {
    Write(PathBuf, u8),
    Append(PathBuf, u8),
    MakeDir(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Time(PathBuf, u8),
    Attribute(PathBuf, u8),
    Fifo(PathBuf),
}

impl Deed {
    fn is_done_in(&self, dir: &Path) {
        let write = |path: &PathBuf, text: u8, append| {
            let mut options = fs::OpenOptions::new();
            // Not to wait for the reader of a pipe.
            options
                .write(true)
                .create(true)
                .append(append)
                .truncate(!append)
                .custom_flags(nix::libc::O_NONBLOCK);
            let file = options.open(dir.join(path));
            file.is_ok_and(|mut file| std::io::Write::write_all(&mut file, &[text; 10]).is_ok())
        };
        let done = match self {
            Self::Write(path, text) => write(path, *text, false),
            Self::Append(path, text) => write(path, *text, true),
            Self::MakeDir(path) => fs::create_dir(dir.join(path)).is_ok(),
            Self::Remove(path) => {
                fs::remove_file(dir.join(path)).or_else(|_| fs::remove_dir_all(dir.join(path))).is_ok()
            }
            Self::Rename(from, to) => fs::rename(dir.join(from), dir.join(to)).is_ok(),
            Self::Link(from, to) => fs::hard_link(dir.join(from), dir.join(to)).is_ok(),
            Self::Symlink(from, to) => symlink(from, dir.join(to)).is_ok(),
            Self::Mode(path, mode) => {
                !dir.join(path).is_symlink()
                    && fs::set_permissions(dir.join(path), fs::Permissions::from_mode(*mode)).is_ok()
            }
            Self::Time(path, time) => {
                let time = rustix::fs::Timespec { tv_sec: i64::from(*time) * 1000, tv_nsec: 7 };
                let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(rustix::fs::CWD, dir.join(path), &times, flags).is_ok()
            }
            Self::Attribute(path, value) => {
                let flags = rustix::fs::XattrFlags::empty();
                !dir.join(path).is_symlink()
                    && rustix::fs::setxattr(dir.join(path), "user.x", &[*value], flags).is_ok()
            }
            Self::Fifo(path) => nix::unistd::mkfifo(&dir.join(path), nix::sys::stat::Mode::S_IRUSR).is_ok(),
        };
        let _ = done;
    }
}

fn path() -> impl Strategy<Value = PathBuf> {
    vec("[abc]", 1..4).prop_map(|parts| parts.into_iter().collect())
}

fn deed() -> impl Strategy<Value = Deed> {
    let (one, two) = (path(), path());
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(path, text)| Deed::Write(path, text)),
        2 => (path(), any::<u8>()).prop_map(|(path, text)| Deed::Append(path, text)),
        4 => path().prop_map(Deed::MakeDir),
        2 => path().prop_map(Deed::Remove),
        4 => (one, two).prop_map(|(from, to)| Deed::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Deed::Link(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Deed::Symlink(from, to)),
        1 => (path(), prop_oneof![Just(0o700), Just(0o640), Just(0o1755)]).prop_map(|(path, mode)| Deed::Mode(path, mode)),
        1 => (path(), any::<u8>()).prop_map(|(path, time)| Deed::Time(path, time)),
        1 => (path(), any::<u8>()).prop_map(|(path, value)| Deed::Attribute(path, value)),
        1 => path().prop_map(Deed::Fifo),
    ]
}

#[test]
fn a_copy_of_the_lower_layer_becomes_what_was_shown_whatever_was_done() {
    let scene = Scene::new();
    let options = prop_oneof![Just(""), Just("--redirect-dir on"), Just("--redirect-dir on --metacopy on")];
    let cases = (vec(deed(), 0..25), vec(deed(), 1..25), options);
    let config = ProptestConfig {
        cases: 300 / slowness(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let number = Cell::new(0);
    let result = TestRunner::new(config).run(&cases, |(before, after, options)| {
        number.set(number.get() + 1);
        let dir = scene.tree(&format!("case{}", number.get()), &[]);
        for name in ["lower", "upper", "here"] {
            fs::create_dir(dir.join(name)).expect("mkdir");
        }
        for deed in &before {
            deed.is_done_in(&dir.join("lower"));
        }
        let script =
            format!("cd {}; cp -a lower copy; ovl-mount -l lower -u upper {options} here", dir.display());
        scene.script(&script).assert().success();
        for deed in &after {
            deed.is_done_in(&dir.join("here"));
        }
        let shown = walk(&dir.join("here"));
        let script = format!("cd {}; umount here; ovl-commit upper --to copy", dir.display());
        let run = scene.script(&script).output().expect("bash");
        prop_assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        prop_assert_eq!(walk(&dir.join("copy")), shown);
        fs::remove_dir_all(dir).expect("remove");
        Ok(())
    });
    scene.script("umount case*/here 2>/dev/null; true").assert().success();
    result.expect("all the same");
}

#[test]
fn killed_at_any_moment_and_run_again_the_result_is_right() {
    let scene = Scene::new();
    let script = "set -e; mkdir -p lower upper here; for d in {1..12}; do mkdir -p lower/d$d/in; for f in {1..12}; do echo $f > lower/d$d/f$f; done; \
                      echo in > lower/d$d/in/file; done; \
                  ovl-mount -l lower -u upper --redirect-dir on here; cd here; \
                  for d in 1 2 3; do rm -r d$d; mkdir d$d; echo new > d$d/new; done; \
                  for d in 4 5 6; do mv -T d$d moved$d; echo more >> moved$d/f1; rm moved$d/f2; mv -T moved$d/in in$d; done; \
                  mv -T d7 tmp; mv -T d8 d7; mv -T tmp d8; for f in {1..12}; do echo more >> d9/f$f; ln d9/f$f d10/hard$f; done; rm d11/f*";
    scene.script(script).assert().success();
    let shown = walk(&scene.path("here"));
    scene.script("umount here").assert().success();
    let start = || {
        let mut command: Command = scene.command("ovl-commit");
        command
            .args(["upper", "--to", "copy"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ovl-commit")
    };
    let fresh = || scene.script("rm -rf copy; cp -a lower copy").assert().success();
    fresh();
    let began = Instant::now();
    assert!(start().wait().expect("ends").success());
    let mut whole = began.elapsed();
    let (mut killed, mut seed) = (0, 1_u64);
    let rounds = 200 / slowness();
    for round in 0..rounds {
        fresh();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = f64::from(u32::try_from(seed >> 40).expect("24 bits")) / f64::from(1 << 24);
        let mut running = start();
        // Not to wait for anything: any moment will do.
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * part));
        running.kill().expect("kill");
        if running.wait().expect("ends").signal() == Some(9) {
            killed += 1;
        } else {
            // It took longer when the machine had more to do.
            whole = whole.mul_f64(0.9);
        }
        let again = start().wait_with_output().expect("ends");
        assert!(again.status.success(), "round {round}: {}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(walk(&scene.path("copy")), shown, "round {round}");
    }
    assert!(killed >= rounds / 2, "only {killed} of {rounds} were killed before they were done");
}
