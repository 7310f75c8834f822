//! The options of the overlay.

use std::fs;

use chain_testing::Scene;

#[test]
fn the_kernel_has_what_was_asked_for() {
    let scene = Scene::new();
    for dir in ["lower", "upper", "here"] {
        scene.tree(dir, &[]);
    }
    for (words, shown) in [
        ("--redirect-dir on", "redirect_dir=on"),
        ("--redirect-dir=nofollow", "redirect_dir=nofollow"),
        ("--redirect-dir on --metacopy on", "metacopy=on"),
        ("--index on", "index=on"),
        ("--volatile", "volatile"),
        ("--userxattr", "userxattr"),
        ("-o index=on,nfs_export=on", "nfs_export=on"),
        ("-o index=on -o nfs_export=on", "nfs_export=on"),
    ] {
        let script = format!(
            "ovl-mount -l lower -u upper {words} here -- \
             sh -c 'grep \" overlay \" /proc/self/mountinfo' | grep -o '[,=]{shown}' | cut -c2-; \
             rm -rf upper.work"
        );
        scene.script(&script).assert().success().stdout(format!("{shown}\n")).stderr("");
    }
}

#[test]
fn inode_numbers_tell_filesystems_apart() {
    let scene = Scene::new();
    for dir in ["lower", "other", "upper", "here"] {
        scene.tree(dir, &[]);
    }
    // It makes a difference only where layers are on different ones.
    let script = "ovl-mount -l lower --tmp other -- ovl-mount -l other -l lower -u upper --xino on here -- \
                  sh -c 'grep \" /.*/here \" /proc/self/mountinfo' | grep -o xino=on";
    scene.script(script).assert().success().stdout("xino=on\n").stderr("");
}

#[test]
fn changes_in_memory_do_not_wait_for_a_disk() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    scene.tree("upper", &[]);
    let volatile = "sh -c 'grep \" overlay \" /proc/self/mountinfo' | grep -c [,=]volatile";
    let script = format!(
        "ovl-mount -l lower --tmp lower -- {volatile}; ovl-mount -l lower -u upper lower -- {volatile}"
    );
    scene.script(&script).assert().stdout("1\n0\n").stderr("");
}

#[test]
fn a_directory_of_a_lower_layer_can_be_renamed_as_one() {
    let scene = Scene::new();
    scene.tree("lower/dir", &[("file", "")]);
    let upper = scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let script = "ovl-mount -l lower -u upper --redirect-dir on here -- mv -T here/dir here/other";
    scene.script(script).assert().success();
    assert_eq!(
        fs::read_dir(upper.join("other")).expect("directory").count(),
        0,
        "the file stays in the lower"
    );
}

#[test]
fn a_change_of_the_mode_leaves_the_data_where_it_is() {
    let scene = Scene::new();
    scene.tree("lower", &[("file", &"data ".repeat(10_000))]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let script = "ovl-mount -l lower -u upper --metacopy on here -- sh -c 'chmod 600 here/file; wc -c < here/file'; \
                  stat -c %a upper/file; [ $(stat -c %b upper/file) -lt 50 ] && echo no data";
    scene.script(script).assert().success().stdout("50000\n600\nno data\n").stderr("");
}

#[test]
fn what_was_volatile_is_not_trusted_without_a_word() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let script = "ovl-mount -l lower -u upper --volatile here -- touch here/file; \
                  ovl-mount -l lower -u upper here -- echo ran; rm -r upper.work/work/incompat/; \
                  ovl-mount -l lower -u upper here -- ls here";
    let run = scene.script(script).assert().success().stdout("file\n");
    run.stderr(
        "ovl-mount: upper layer upper: it was mounted with --volatile, and may be incomplete since a crash; \
         if there was none: rm -r upper.work/work/incompat/\n",
    );
}

#[test]
fn what_the_kernel_refuses_it_explains() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    for option in ["no_such", "xino=maybe"] {
        let run = scene
            .tool("ovl-mount")
            .args(["-l", "lower", "--tmp", "-o", option, "lower", "--", "true"])
            .assert();
        let said = String::from_utf8_lossy(&run.code(125).get_output().stderr).into_owned();
        let name = option.split('=').next().expect("a name");
        let (_, words) = said.split_once(": Invalid argument (overlay").expect("the kernel's words");
        assert!(said.starts_with("ovl-mount: ") && words.contains(name), "{said}");
    }
}

#[test]
fn memory_for_changes_is_as_much_as_was_said() {
    let scene = Scene::new();
    scene.tree("lower", &[("file", "file\n")]);
    let script = "ovl-mount -l lower --tmp=1M lower -- sh -c \
                  'dd if=/dev/zero of=lower/big bs=64k count=32 2>&1 | grep -o No.space.*; stat -c %s lower/big; cat lower/file'";
    scene.script(script).assert().success().stdout("No space left on device\n1048576\nfile\n");
    let total = "df -B1 --output=size lower | tail -n1";
    let script = format!(
        "half=$(ovl-mount -l lower --tmp lower -- {total}); tenth=$(ovl-mount -l lower --tmp=10% lower -- {total}); \
         echo $((half / 4096 / 5 - tenth / 4096))"
    );
    // The kernel rounds each to whole pages.
    let run = scene.script(&script).assert().success();
    let difference =
        String::from_utf8_lossy(&run.get_output().stdout).trim().parse::<i64>().expect("a number");
    assert!(difference.abs() <= 1, "{difference} pages");
}

#[test]
fn an_option_of_mount_is_told_from_those_of_overlays() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    for option in ["noatime", "nosuid"] {
        let run = scene
            .script(&format!("ovl-mount -l lower --tmp -o {option} lower -- echo ran"))
            .assert()
            .code(125);
        let run = run.stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.contains(": Invalid argument"), "{said}");
        assert!(said.ends_with("; -o takes options of overlays, not those of mount(8)\n"), "{said}");
    }
}
