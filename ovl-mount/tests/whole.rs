//! `--whole`: the host's tree, mount by mount.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use chain_testing::{ORDINARY_USER, Scene};

#[test]
fn the_command_changes_the_host_and_the_host_stays_as_it_was() {
    let scene = Scene::new();
    let mine = scene.tree("mine", &[("kept", "kept\n"), ("removed", "")]);
    scene.tree("changes", &[]);
    for changes in ["--tmp", "-u changes"] {
        let script = format!(
            "ovl-mount --whole {changes} -- sh -c \
             'echo more >> mine/kept; rm mine/removed; echo new > mine/new; ls mine; cat mine/kept; echo x > /etc/chainbox-test'; \
             ls mine; cat mine/kept; ls /etc/chainbox-test 2>&1 | grep -c No.such"
        );
        let run = scene.script(&script).assert().success().stderr("");
        run.stdout("kept\nnew\nkept\nmore\nkept\nremoved\nkept\n1\n");
    }
    assert_eq!(changed(&scene, Path::new("/etc/chainbox-test")), "x\n");
    assert_eq!(changed(&scene, &mine.join("kept")), "kept\nmore\n");
}

/// What a file of the host became, as it is kept in `changes` for the mount that the file is on.
fn changed(scene: &Scene, path: &Path) -> String {
    let kept = path.ancestors().skip(1).find_map(|mount| {
        let name = mount.display().to_string().replace('/', "@");
        let upper = scene.path("changes").join(name).join("upper");
        fs::read_to_string(upper.join(path.strip_prefix(mount).expect("above"))).ok()
    });
    kept.expect("a changed file")
}

#[test]
fn what_was_kept_is_there_again() {
    let scene = Scene::new();
    scene.tree("changes", &[]);
    let script = "ovl-mount --whole -u changes -- sh -c 'echo one > new'; \
                  ovl-mount --whole -u changes -- sh -c 'cat new; rm new'; \
                  ovl-mount --whole -u changes -- ls new 2>&1 | grep -c No.such; ls new 2>&1 | grep -c No.such";
    scene.script(script).assert().success().stdout("one\n1\n1\n");
}

#[test]
fn each_mount_has_changes_of_its_own_and_its_attributes() {
    let scene = Scene::new();
    scene.tree("one", &[("a", "")]);
    scene.tree("here@", &[]);
    scene.tree("changes", &[]);
    // The inner one lies in the outer one, which is an overlay, of which none can be an upper.
    let script = "mount -t tmpfs -o nosuid,noexec none here@; mkdir here@/in; mount -t tmpfs none here@/in; \
                  echo old > here@/in/file; \
                  ovl-mount --whole -u changes -- sh -c 'echo two > here@/in/file; touch here@/new; ls -R here@; \
                      grep -c \"here@ rw,nosuid,noexec.* overlay\" /proc/self/mountinfo'; \
                  ls -R here@; cat here@/in/file; ls changes; cat changes/*here%40@in/upper/file; ls changes/*here%40/upper";
    let script = format!("unshare -m bash -c {}", shell_words(script));
    let run = scene.script(&script).env("LC_ALL", "C").assert().success().stderr("");
    let name = scene.dir().display().to_string().replace('/', "@");
    let mut names = vec!["@".to_owned(), format!("{name}@here%40"), format!("{name}@here%40@in")];
    names.extend(others(&scene));
    names.sort_unstable();
    run.stdout(format!(
        "here@:\nin\nnew\n\nhere@/in:\nfile\n1\nhere@:\nin\n\nhere@/in:\nfile\nold\n{}\ntwo\nnew\n",
        names.join("\n"),
    ));
}

/// The other mounts of this machine that get a directory.
fn others(scene: &Scene) -> Vec<String> {
    let script = "mkdir none; ovl-mount --whole -u none -- true; ls none | grep -v '^@$'; rm -rf none";
    let said = scene.script(script).output().expect("bash").stdout;
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}

fn shell_words(script: &str) -> String {
    format!("'{}'", script.replace('\'', "'\\''"))
}

#[test]
fn the_kernels_own_filesystems_stay_as_they_are() {
    let scene = Scene::new();
    let script = "ovl-mount --whole --tmp -- bash -c \
                  'for dir in /proc /sys /dev /dev/pts /run; do stat -c %d $dir; done; echo /proc/self/ns/*; echo lost > /dev/null' >in; \
                  bash -c 'for dir in /proc /sys /dev /dev/pts /run; do stat -c %d $dir; done; echo /proc/self/ns/*' >out; cmp in out";
    scene.script(script).assert().success().stdout("").stderr("");
}

#[test]
fn the_working_directory_is_the_same_one_in_the_new_tree() {
    let scene = Scene::new();
    scene.tree("deep/er", &[]);
    let script = "cd deep/er; ovl-mount --whole --tmp -- sh -c 'pwd; touch file; ls'; ls";
    let run = scene.script(script).assert().success().stderr("");
    run.stdout(format!("{}\nfile\n", scene.path("deep/er").display()));
}

#[test]
fn the_changes_cannot_be_seen_or_changed_from_inside() {
    let scene = Scene::new();
    scene.tree("changes", &[]);
    let script = "ovl-mount --whole -u changes -- sh -c 'touch file; ls changes; touch changes/mine 2>&1 | grep -o Read-only.*'";
    scene.script(script).assert().success().stdout("Read-only file system\n");
}

#[test]
fn an_ordinary_user_tries_something_in_a_tree_of_their_own() {
    let scene = Scene::new();
    scene.tree("home", &[]);
    let script = "cd home; mkdir changes; echo old > file; ovl='ns-enter user,mnt -- ovl-mount --whole'\n\
                  $ovl --tmp -- sh -c 'echo new > file; cat file; id -u; test -x /bin/sh && test -d /proc/self && echo whole'\n\
                  $ovl -u changes -- sh -c 'echo kept > file; touch /etc/mine; cat file'\n\
                  cat file; $ovl -u changes -- cat file; ls /etc/mine 2>&1 | grep -c No.such\n";
    scene.tree(".", &[("try", script)]);
    scene.script_as_user("true").assert().success();
    // A mount of their own: in a directory that is another's, and not the top of one, nothing can be changed.
    let script = format!(
        "unshare -m bash -c 'mount -t tmpfs -o uid={ORDINARY_USER} none home && PATH=$PWD/bin:$PATH exec \\
         setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups bash try'"
    );
    let run = scene.script(&script).assert().success().stderr("");
    run.stdout("new\n0\nwhole\nkept\nold\nkept\n1\n");
}

#[test]
fn the_uppers_have_the_owner_and_the_mode_of_what_they_are_over() {
    let scene = Scene::new();
    scene.tree("changes", &[]);
    scene.script("ovl-mount --whole -u changes -- true").assert().success();
    let [host, upper] =
        ["/", "changes/@/upper"].map(|path| fs::metadata(scene.path(path)).expect("metadata"));
    assert_eq!((upper.mode(), upper.uid(), upper.gid()), (host.mode(), host.uid(), host.gid()));
    assert_eq!(fs::metadata(scene.path("changes/@")).expect("metadata").mode() & 0o7777, 0o700);
}

#[test]
fn a_mount_in_a_directory_that_a_user_cannot_enter_is_in_nobodys_way() {
    let scene = Scene::new();
    scene.tree("closed/in", &[("kept", "kept\n")]);
    scene.tree("home", &[("file", "old\n")]);
    scene.script_as_user("true").assert().success();
    let script = format!(
        "unshare -m bash -c 'mount -t tmpfs none closed/in; chmod 700 closed; chown {ORDINARY_USER} home; PATH=$PWD/bin:$PATH exec \
         setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups ns-enter user,mnt -- ovl-mount --whole --tmp -- \
         sh -c \"echo new > home/mine; cat home/mine; ls closed 2>&1 | grep -c Permission\"'"
    );
    scene.script(&script).assert().success().stdout("new\n1\n").stderr("");
}

#[test]
fn what_was_volatile_is_not_trusted_and_links_are_not_followed_where_the_host_follows_none() {
    let scene = Scene::new();
    scene.tree("changes", &[]);
    scene.tree("here", &[]);
    let script = "mount -t tmpfs -o nosymfollow none here; ln -s /etc here/link; echo x > here/file; \
                  try() { ovl-mount --whole --volatile -u changes -- sh -c \"ls here/link/ 2>&1 | grep -c symbolic; cat here/file\"; }; try; try";
    let run = scene.script(&format!("unshare -m bash -c '{script}'")).assert().code(125).stdout("1\nx\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why =
        "it was mounted with --volatile, and may be incomplete since a crash; if there was none: rm -r ";
    assert!(said.contains(why) && said.lines().count() == 1, "{said}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scene = Scene::new();
    for (words, why) in [
        ("--whole -- true", "--whole: no place for changes; add --tmp, or -u DIR to keep them"),
        (
            "--whole -u /run -- true",
            "upper layer /run: /proc, /sys, /dev, /run are shown as they are, so that the command would change its own changes; \
             name a directory elsewhere",
        ),
        ("--whole -u no-such -- true", "upper layer no-such: No such file or directory; make it with mkdir"),
    ] {
        let run = scene.tool("ovl-mount").args(words.split(' ')).assert().code(125);
        run.stderr(format!("ovl-mount: {why}\n"));
    }
}
