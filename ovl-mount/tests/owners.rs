//! `--idmap`: owners shown as others.

use std::{fs, os::unix::fs::MetadataExt};

use chain_testing::Scene;

const MAP: &str = "--idmap 0-100000-65536";

/// The user and the group to whom a file belongs.
fn owner(scene: &Scene, file: &str) -> (u32, u32) {
    let found = fs::symlink_metadata(scene.path(file)).expect(file);
    (found.uid(), found.gid())
}

/// An upper directory of root in the namespace.
fn upper(scene: &Scene) {
    std::os::unix::fs::chown(scene.tree("upper", &[]), Some(100_000), Some(100_000)).expect("chown");
}

#[test]
fn owners_are_shown_as_others_to_whom_the_changes_belong() {
    let scene = Scene::new();
    scene.tree("base", &[("file", "base\n"), ("other", "")]);
    scene.tree("m", &[]);
    let script = "stat -c %u:%g m m/file; ns-enter user=0:100000:65536 -- sh -c 'echo new >m/new; chmod 4755 m/new; echo more >>m/file; \
                  stat -c %u:%g m m/new'; stat -c %u:%g m/new";
    for changes in ["-u upper", "--tmp", "--tmp=4M"] {
        upper(&scene);
        let run = format!("ovl-mount -l base {changes} {MAP} m -- bash -c \"{script}\"");
        let (shown, inside) = ("100000:100000\n", "0:0\n");
        let all = [shown, shown, inside, inside, shown].concat();
        scene.script(&run).assert().success().stderr("").stdout(all);
    }
    for file in ["upper", "upper/new", "upper/file"] {
        assert_eq!(owner(&scene, file), (100_000, 100_000), "{file}");
    }
    assert_eq!(owner(&scene, "base/file"), (0, 0));
    // Used once more, it is asked who else has it.
    let again = format!("ovl-mount -l base -u upper {MAP} m -- stat -c %u m m/new m/file m/other");
    scene.script(&again).assert().success().stderr("").stdout("100000\n".repeat(4));
}

#[test]
fn a_program_of_the_layers_that_is_changed_has_no_capability_outside_of_the_map() {
    let scene = Scene::new();
    scene.tree("base", &[("file", "base\n")]);
    scene.tree("m", &[]);
    upper(&scene);
    let script = format!(
        "setcap cap_net_raw=ep base/file; ovl-mount -l base -u upper {MAP} m -- ns-enter user=0:100000:65536 -- chmod 700 m/file; \
         getcap -n upper/file"
    );
    scene.script(&script).assert().success().stdout("upper/file cap_net_raw=ep [rootid=100000]\n");
}

#[test]
fn an_upper_directory_that_is_not_of_the_map_is_an_error() {
    let scene = Scene::new();
    scene.tree("base", &[("file", "base\n")]);
    scene.tree("m", &[]);
    scene.tree("upper", &[]);
    let run = |map: &str, why: &str| {
        let run =
            scene.script(&format!("ovl-mount -l base -u upper --idmap {map} m -- true")).assert().code(125);
        run.stderr(format!(
            "ovl-mount: upper layer upper: it belongs to 0:0, which the map {map} shows as nobody; {why}\n"
        ));
    };
    run("0-100000-65536", "if it is empty, chown 100000:100000 it, or use box-run --allow-host-root");
    run("5-100000-9", "name one of the map's, or use box-run --allow-host-root");
    assert_eq!(owner(&scene, "upper"), (0, 0));
    assert!(!scene.path("upper.work").exists());
}

#[test]
fn one_layer_without_changes_is_shown_with_other_owners_too() {
    let scene = Scene::new();
    scene.tree("base", &[("file", "")]);
    scene.tree("m", &[]);
    let run = "ovl-mount -l base --idmap 0-5-1 m -- bash -c 'stat -c %u m/file; touch m/new || echo $?'";
    scene.script(run).assert().success().stdout("5\n1\n");
}

#[test]
fn a_map_that_makes_no_sense_or_a_layer_that_takes_none_is_an_error() {
    let scene = Scene::new();
    scene.tree("base", &[]);
    scene.tree("m", &[]);
    for (options, error) in [
        (
            "--idmap 0-1 -l base",
            "--idmap 0-1: not an id map; write INSIDE-OUTSIDE-COUNT[+...], such as 0-100000-65536",
        ),
        (
            "--idmap 0-1-2+1-5-1 -l base",
            "set the uid_map of an id map: Invalid argument; parts of a map must not overlap",
        ),
        (
            "--idmap 0-1-2 -l /proc",
            "lower layer /proc: Invalid argument (its filesystem, or that of a mount below it, takes no id map); copy it to one \
             that does, or use box-run --allow-host-root",
        ),
    ] {
        let run = scene.script(&format!("ovl-mount {options} m -- true")).assert().code(125);
        run.stderr(format!("ovl-mount: {error}\n"));
    }
}
