//! Many layers, and any name.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
};

use chain_testing::Scene;

#[test]
fn the_highest_layer_wins() {
    let scene = Scene::new();
    for layer in ["a", "b", "c"] {
        scene.tree(layer, &[("all", layer), (layer, layer)]);
    }
    scene.tree("here", &[]);
    let args =
        ["-l", "b", "-l", "c", "-l", "a", "--tmp", "here", "--", "bash", "-c", "cat here/all; ls here"];
    scene.tool("ovl-mount").args(args).assert().success().stdout("ba\nall\nb\nc\n");
}

#[test]
fn five_hundred_layers_and_not_one_more() {
    let scene = Scene::new();
    let mut args: Vec<OsString> = Vec::new();
    for layer in 0..500 {
        let name = format!("layer{layer}");
        scene.tree(&name, &[(&name, "")]);
        args.extend(["-l".into(), name.into()]);
    }
    scene.tree("here", &[]);
    let end = ["--tmp", "here", "--", "bash", "-c", "ls here | wc -l"];
    scene.tool("ovl-mount").args(&args).args(end).assert().success().stdout("500\n");
    args.extend(["-l".into(), "here".into()]);
    let run = scene.tool("ovl-mount").args(&args).args(end).assert().code(125);
    run.stderr("ovl-mount: 501 lower layers: the kernel takes at most 500\n");
}

#[test]
fn a_name_may_hold_any_byte() {
    let scene = Scene::new();
    let names: [&[u8]; 8] =
        [b"a,b", b"a:b", b"a\\b", b"a'b\"c", b"a b", b"a\nb", b"a\xff\xfeb", b"upperdir=x,lowerdir=y"];
    scene.tree("here", &[]);
    for name in names {
        let name = OsStr::from_bytes(name);
        let lower = scene.path(name);
        fs::create_dir(&lower).expect("mkdir");
        fs::write(lower.join("file"), "seen\n").expect("write");
        let mut upper = name.to_os_string();
        upper.push("-upper");
        fs::create_dir(scene.path(&upper)).expect("mkdir");
        let mut tool = scene.tool("ovl-mount");
        tool.arg("-l").arg(name).arg("-u").arg(&upper).args([
            "here",
            "--",
            "bash",
            "-c",
            "cat here/file; echo x > here/x",
        ]);
        tool.assert().success().stdout("seen\n");
        assert_eq!(fs::read_to_string(scene.path(&upper).join("x")).expect("changed"), "x\n");
    }
}

#[test]
fn an_ordinary_user_is_told_what_is_needed() {
    let scene = Scene::new();
    let run = scene.script_as_user("ovl-mount -l /etc --tmp /mnt -- echo ran").assert().code(125).stdout("");
    run.stderr("ovl-mount: new mnt namespace: Operation not permitted; run as root, or behind ns-enter user,mnt --\n");
    let run = scene.script_as_user("ovl-mount --whole --tmp -- echo ran").assert().code(125).stdout("");
    run.stderr("ovl-mount: new mnt namespace: Operation not permitted; run as root, or behind ns-enter user,mnt --\n");
    let run = scene.script_as_user("ovl-mount -l /etc --tmp /mnt").assert().code(125);
    run.stderr("ovl-mount: new tmpfs filesystem: Operation not permitted; run as root, or behind ns-enter user,mnt --\n");
}

#[test]
fn what_a_killed_mount_has_left_goes_with_the_next() {
    let scene = Scene::new();
    for dir in ["lower", "upper", "here"] {
        scene.tree(dir, &[]);
    }
    // No machine has so many processes (PID_MAX_LIMIT of include/linux/threads.h).
    let script = "mount() { ovl-mount -l lower -u upper here -- true; }; mount; mkdir -p upper.work/probe.4999999/work; \
                  mkdir upper.work/probe.1; mount; ls upper.work";
    scene.script(script).assert().success().stdout("probe.1\nwork\n").stderr("");
}
