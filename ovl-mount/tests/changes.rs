//! What changes in the mounted tree, and what stays as it was: the walk-through.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use chain_testing::{Scene, kernel_is_from};

#[test]
fn both_layers_show_and_changes_reach_only_the_upper() {
    let scene = Scene::new();
    let lower = scene.tree("lower", &[("ro.txt", "lower\n"), ("gone.txt", "lower\n")]);
    let upper = scene.tree("upper", &[("rw.txt", "upper\n")]);
    scene.tree("merged", &[]);
    let script = "ls merged; echo more >> merged/ro.txt; echo more >> merged/rw.txt; rm merged/gone.txt; \
                  cat merged/ro.txt; ls merged";
    let run = scene
        .tool("ovl-mount")
        .args(["-l", "lower", "-u", "upper", "merged", "--", "bash", "-c", script])
        .assert();
    run.success().stdout("gone.txt\nro.txt\nrw.txt\nlower\nmore\nro.txt\nrw.txt\n");

    let read = |file: std::path::PathBuf| fs::read_to_string(file).expect("file");
    assert_eq!(read(lower.join("ro.txt")), "lower\n");
    assert_eq!(read(lower.join("gone.txt")), "lower\n");
    assert_eq!(read(upper.join("ro.txt")), "lower\nmore\n", "copied up");
    assert_eq!(read(upper.join("rw.txt")), "upper\nmore\n");
    let whiteout = fs::symlink_metadata(upper.join("gone.txt")).expect("whiteout");
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0, "a whiteout is the character device 0:0");
    assert_eq!(
        fs::read_dir(scene.path("merged")).expect("directory").count(),
        0,
        "nobody else saw the mount"
    );
}

#[test]
fn changes_in_memory_go_away() {
    let scene = Scene::new();
    let lower = scene.tree("lower", &[("a", "a\n")]);
    let script = "echo b > here/b && rm here/a && ls here";
    scene.tree("here", &[]);
    let run =
        scene.tool("ovl-mount").args(["-l", "lower", "--tmp", "here", "--", "bash", "-c", script]).assert();
    run.success().stdout("b\n");
    assert_eq!(fs::read_dir(&lower).expect("directory").count(), 1);
}

#[test]
fn over_a_lower_layer_itself_the_command_sees_its_own_changes() {
    let scene = Scene::new();
    let lower = scene.tree("lower", &[("a", "a\n")]);
    let run = scene
        .script("ovl-mount -l lower --tmp lower -- bash -c 'echo b > lower/b; ls lower'; ls lower")
        .assert();
    run.success().stdout("a\nb\na\n");
    assert_eq!(fs::read_dir(&lower).expect("directory").count(), 1);
}

#[test]
fn without_an_upper_nothing_can_be_changed() {
    let scene = Scene::new();
    scene.tree("one", &[("a", "one\n")]);
    scene.tree("two", &[("a", "two\n"), ("b", "two\n")]);
    scene.tree("here", &[]);
    for (layers, shown) in [(&["-l", "two"][..], "two\ntwo\n"), (&["-l", "one", "-l", "two"], "one\ntwo\n")] {
        let script = "cat here/a here/b; (echo c > here/c) 2>&1 | grep -o 'Read-only file system'";
        let run = scene.tool("ovl-mount").args(layers).args(["here", "--", "bash", "-c", script]).assert();
        run.success().stdout(format!("{shown}Read-only file system\n"));
    }
}

#[test]
fn the_root_of_the_tree_has_the_owner_and_mode_of_the_highest_lower() {
    let scene = Scene::new();
    let script = "mkdir high low here; chmod 1731 high; chown 12:34 high; \
                  ovl-mount -l high -l low --tmp here -- stat -c '%a %u %g' here";
    scene.script(script).assert().success().stdout("1731 12 34\n");
}

#[test]
fn without_a_command_it_stays_until_umount() {
    let scene = Scene::new();
    scene.tree("lower", &[("a", "a\n")]);
    scene.tree("here", &[]);
    scene.tree("upper", &[]);
    for changes in ["", "--tmp", "-u upper"] {
        let script = format!("ovl-mount -l lower {changes} here && cat here/a && umount here && ls here");
        scene.script(&script).assert().success().stdout("a\n").stderr("");
    }
}

#[test]
fn the_work_directory_is_a_sibling_and_goes_with_a_failed_mount() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    scene.tree("here", &[]);
    let upper = scene.tree("upper", &[]);
    // An overlay takes no lower layer of a kind whose mounts nest too deep, which proc says of itself.
    scene.tool("ovl-mount").args(["-l", "/proc", "-u", "upper/", "here", "--", "true"]).assert().code(125);
    assert!(!upper.with_file_name("upper.work").exists());
    scene.tool("ovl-mount").args(["-l", "lower", "-u", "upper/", "here", "--", "true"]).assert().success();
    assert!(upper.with_file_name("upper.work").is_dir());
}

#[test]
fn a_work_directory_with_anything_in_it_is_refused_and_left_as_it_is() {
    let scene = Scene::new();
    let script = "mkdir -p lower upper here other/work upper.work/work; echo mine >other/work/file; \
                  ovl-mount -l lower -u upper -w other here -- true; cat other/work/file; \
                  touch upper.work/work/file; ovl-mount -l lower -u upper here -- true; ls upper.work/work; \
                  rm upper.work/work/file; mkdir upper.work/work/#1; ovl-mount -l lower -u upper here -- echo ran";
    let run = scene.script(script).assert().success().stdout("mine\nfile\nran\n");
    let refused =
        |dir| format!("ovl-mount: work directory {dir}: not empty; name an empty directory with -w\n");
    run.stderr(refused("other") + &refused("upper.work"));
}

#[test]
fn an_upper_that_another_mount_uses_is_refused() {
    let scene = Scene::new();
    let script = "mkdir lower upper here; box='ovl-mount -l lower -u upper here --'; $box $box echo ran; \
                  mkfifo up down; $box sh -c 'echo >up; read x <down' & read x <up; $box echo ran; echo >down; wait; \
                  $box echo free";
    let run = scene.script(script).assert().success().stdout("free\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why = "ovl-mount: upper layer upper: another mount uses it, or its work directory";
    let who: Vec<_> = said.lines().map(|line| line.strip_prefix(why).expect(&said)).collect();
    let here = scene.path("here");
    if kernel_is_from((6, 13)) {
        assert_eq!(who[0], format!("; it is mounted on {}: umount that first", here.display()));
        assert!(
            who[1].starts_with("; sh (pid ") && who[1].ends_with(&format!(") has it on {}", here.display())),
            "{who:?}"
        );
    }
    assert_eq!(who.len(), 2);
}

#[test]
fn who_uses_an_upper_goes_on_when_another_is_refused_it() {
    let scene = Scene::new();
    let first = "mkfifo up go; ovl-mount -l lower -u upper here -- sh -c 'echo one >here/one; echo >up; read -r line <go; \
                 echo more >>here/file; rm here/gone; mv here/one here/two; ls here' & read -r line <up";
    let script = format!(
        "mkdir lower upper here; touch lower/file lower/gone; {first}; ovl-mount -l lower -u upper here -- echo ran 2>/dev/null; \
         echo $?; echo >go; wait $!; echo $?; ls upper.work"
    );
    scene.script(&script).assert().success().stderr("").stdout("125\nfile\ntwo\n0\nwork\n");
}

#[test]
fn the_work_directory_of_a_dot_is_beside_the_directory_that_it_names() {
    let scene = Scene::new();
    let script = "mkdir -p lower upper/in here; cd upper; ovl-mount -n -l ../lower -u . ../here | sed s,/.*/upper,UPPER,; \
                  ovl-mount -l ../lower -u . ../here -- true; rm -r ../upper.work; cd in; \
                  ovl-mount -l ../../lower -u .. ../../here -- true; cd ../..; rm -r upper.work; ls -A . upper";
    let run = scene.script(script).assert().success().stderr("");
    run.stdout("ovl-mount: make UPPER.work\novl-mount: mount ../lower on ../here, changes in .\n.:\nhere\nlower\nupper\n\nupper:\nin\n");
}
