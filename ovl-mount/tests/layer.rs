//! `ovl-layer`: changes as an OCI image layer, and back.

use std::{fs, path::Path};

use chain_testing::{ORDINARY_USER, Scene};
use tar::{Builder, EntryType, Header};

/// An upper directory with all that can be in one, made by an overlay of `lower` in the scene.
fn changes(scene: &Scene) {
    scene.tree("lower/dir", &[("old", ""), ("kept", "")]);
    scene.tree("lower/gone", &[("a", "")]);
    scene.tree("lower", &[("file", "old\n"), ("removed", "")]);
    scene.tree("upper", &[]);
    let long = "n".repeat(200);
    let script = format!(
        "ovl-mount -l lower -u upper lower -- bash -c 'cd $PWD/lower; echo new > file; rm removed; rm -r gone; rm -r dir; mkdir -m 1770 dir; \
             echo in > dir/new; ln dir/new dir/other; ln -s /etc/passwd link; mkfifo -m 600 fifo; mknod null c 1 3; \
             touch {long}; chown 12:34 file; chmod 4711 file; setfattr -n user.color -v blue file; \
             touch -d @1234567890.123456789 file; touch -h -d @1 link; mkdir -p deep/er; touch -d @5 deep'"
    );
    scene.script(&script).assert().success().stderr("");
}

/// Lines that tell all of a tree but its overlay's marks.
const TOLD: &str = "told() { (cd $1; find . -mindepth 1 -printf '%p %y %#m %U:%G %T@ %n %l %s\\n' | sed -E 's/^([^ ]*) d (.*) [0-9]+$/\\1 d \\2/; s/ c 0 .*/ hidden/' | sort; \
                    find . -type f -exec sha256sum {} + | sort; getfattr -Rdm user.color . 2>&1); }";

#[test]
fn what_changed_is_in_the_layer_by_the_names_of_the_specification() {
    let scene = Scene::new();
    changes(&scene);
    let run = scene.script("ovl-layer upper -o layer.tar && tar -tf layer.tar").assert().success().stderr("");
    let long = "n".repeat(200);
    run.stdout(format!(
        ".wh.gone\n.wh.removed\ndeep/\ndeep/er/\ndir/\ndir/.wh..wh..opq\ndir/new\ndir/other\nfifo\nfile\nlink\n{long}\nnull\n"
    ));
    let run = scene
        .script("tar --xattrs -tvvf layer.tar --numeric-owner | grep -E ' (file|dir/other|link)'")
        .assert();
    let said = String::from_utf8_lossy(&run.success().get_output().stdout).into_owned();
    assert!(said.contains("-rws--x--x* 12/34") && said.contains("dir/other link to dir/new"), "{said}");
}

#[test]
fn a_layer_that_is_unpacked_is_what_it_was_made_of() {
    let scene = Scene::new();
    changes(&scene);
    for end in ["tar", "tar.gz", "tgz", "tar.zst"] {
        let script = format!(
            "{TOLD}; ovl-layer upper -o layer.{end} && ovl-layer -x layer.{end} --devices back && \
             diff <(told upper) <(told back) && getfattr -n trusted.overlay.opaque --only-values back/dir; rm -rf back"
        );
        scene.script(&script).assert().success().stdout("y").stderr("");
    }
    let run =
        scene.script("file() { head -c4 $1 | od -An -tx1; }; file layer.tar.gz; file layer.tar.zst").assert();
    run.success().stdout(" 1f 8b 08 00\n 28 b5 2f fd\n");
}

#[test]
fn as_a_lower_layer_it_hides_what_was_removed() {
    let scene = Scene::new();
    changes(&scene);
    let script = "ovl-layer upper -o - | ovl-layer -x - --devices back; \
                  ovl-mount -l back -l lower --tmp back -- bash -c 'cd $PWD/back; ls -d * dir/*; cat file'";
    let run = scene.script(script).assert().success().stderr("");
    let long = "n".repeat(200);
    run.stdout(format!("deep\ndir\ndir/new\ndir/other\nfifo\nfile\nlink\n{long}\nnull\nnew\n"));
}

#[test]
fn attributes_of_links_pipes_and_devices_are_kept() {
    let scene = Scene::new();
    let script = "mkdir upper; cd upper; ln -s /no/such link; mkfifo fifo; mknod null c 1 3; setfattr -hn trusted.x -v of-link link; \
                  setfacl -m u:12:rw fifo; setfattr -n trusted.x -v of-null null; cd ..; \
                  told() { (cd $1; getfattr -hdm - *; getfacl -cn fifo); }; \
                  ovl-layer upper -o layer.tar && ovl-layer -x layer.tar --devices back && diff <(told upper) <(told back) && told back | grep -Ec 'of-|user:12'";
    scene.script(script).assert().success().stdout("3\n").stderr("");
}

#[test]
fn the_same_changes_give_the_same_bytes() {
    let scene = Scene::new();
    changes(&scene);
    let script = "ovl-layer upper -o one.tar.zst; cp -a upper copy; touch copy/file -r upper/file; ovl-layer copy -o two.tar.zst; \
                  cmp one.tar.zst two.tar.zst && echo same; \
                  touch -h -d @2000000000 copy/fifo; ovl-layer copy -o - --clamp-mtime 7 | cmp - <(ovl-layer upper -o - --clamp-mtime 7) && echo clamped; \
                  ovl-layer upper -o - --clamp-mtime 7 | tar --full-time -tv | grep -c 1970-01-01.00:00:0[0-7]";
    scene.script(script).env("TZ", "UTC").assert().success().stdout("same\nclamped\n13\n").stderr("");
}

#[test]
fn what_a_layer_cannot_say_is_refused_and_leaves_no_file() {
    let scene = Scene::new();
    let upper = scene.tree("upper", &[("ok", "")]);
    for (make, why) in [
        (
            "setfattr -n trusted.overlay.redirect -v /other upper/dir",
            "dir: it was renamed: a layer cannot say that; make the changes without --redirect-dir and --metacopy",
        ),
        (
            "setfattr -n trusted.overlay.metacopy -v '' upper/file",
            "file: only its metadata changed: a layer cannot say that; make the changes without --redirect-dir and --metacopy",
        ),
        (
            "setfattr -n user.overlay.opaque -v y upper/dir",
            "dir: its attribute user.overlay.opaque: the overlay's own is for no layer to say",
        ),
        (
            "setfattr -n trusted.overlay.overlay.opaque -v y upper/dir",
            "dir: its attribute trusted.overlay.opaque: the overlay's own is for no layer to say",
        ),
        ("touch upper/.wh.x", ".wh.x: its name: in a layer it would hide something"),
        ("mknod upper/.wh..opq c 0 0", ".wh..opq: it was removed, which a layer cannot say of such a name"),
        ("mknod upper/dir/.wh.x c 0 0", "dir/.wh.x: it was removed, which a layer cannot say of such a name"),
    ] {
        let script = format!(
            "mkdir -p upper/dir; touch upper/file; {make}; ovl-layer upper -o layer.tar; echo $?; ls layer* 2>/dev/null"
        );
        scene.script(&script).assert().stdout("125\n").stderr(format!("ovl-layer: {why}\n"));
        fs::remove_dir_all(&upper).expect("upper");
    }
}

#[test]
fn a_layer_does_not_lie_in_what_it_is_made_of() {
    let scene = Scene::new();
    scene.tree("upper/sub", &[("file", "")]);
    let why = |name: &str, upper: &str| {
        format!("ovl-layer: -o {name}: it is in {upper}, which the layer is made of; write it elsewhere\n")
    };
    for (words, name, upper) in [
        ("upper -o upper/x.tar", "upper/x.tar", "upper"),
        ("-n upper -o upper/sub/x.tar", "upper/sub/x.tar", "upper"),
        ("link -o ./upper/../upper/x.tar", "./upper/../upper/x.tar", "link"),
        ("upper -o - >upper/x.tar", "-", "upper"),
    ] {
        let script = format!(
            "ln -sfn upper link; timeout 9 ovl-layer {words}; echo $?; rm -f upper/x.tar; find upper"
        );
        let run = scene.script(&script).assert().success().stderr(why(name, upper));
        run.stdout("125\nupper\nupper/sub\nupper/sub/file\n");
    }
    let run =
        scene.script("cd upper; timeout 9 ovl-layer . -o x.tar").assert().code(125).stderr(why("x.tar", "."));
    run.stdout("");
    let script =
        "cd upper; ovl-layer . -o ../x.tar && ovl-layer sub -o x.tar && tar -tf ../x.tar && tar -tf x.tar";
    scene.script(script).assert().success().stdout("sub/\nsub/file\nfile\n").stderr("");
}

/// An entry of a layer: kind, name, and what it links to.
type Entry<'a> = (EntryType, &'a str, &'a str);

fn layer(path: &Path, entries: &[Entry]) {
    let mut layer = Builder::new(fs::File::create(path).expect("layer"));
    for (kind, name, target) in entries {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let content: &[u8] = if *kind == EntryType::Regular { b"evil\n" } else { b"" };
        header.set_size(content.len() as u64);
        header.set_cksum();
        layer.append(&header, content).expect("entry");
    }
    layer.finish().expect("layer");
}

#[test]
fn hostile_layers_are_refused_and_leave_nothing() {
    let scene = Scene::new();
    scene.tree("outside", &[("secret", "secret\n")]);
    let outside = scene.path("outside").display().to_string();
    let (file, dir, symlink, link) =
        (EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link);
    let cases: &[(&[Entry], &str)] = &[
        (&[(file, "/etc/evil", "")], "/etc/evil: its name: an absolute path"),
        (&[(file, "../evil", "")], "../evil: its name: it has .. in it"),
        (&[(file, "a/../../evil", "")], "a/../../evil: its name: it has .. in it"),
        (
            &[(symlink, "a", &outside), (file, "a/evil", "")],
            "a/evil: a: Too many levels of symbolic links; it is a symbolic link, or lies behind one",
        ),
        (
            &[(symlink, "a", ".."), (dir, "a/b", "")],
            "a/b: a: Too many levels of symbolic links; it is a symbolic link, or lies behind one",
        ),
        (
            &[(symlink, "a", &outside), (link, "evil", "a/secret")],
            "evil: link it to a/secret: Too many levels of symbolic links",
        ),
        (&[(link, "evil", "/etc/passwd")], "evil: link it to /etc/passwd: its name: an absolute path"),
        (
            &[(link, "evil", "../outside/secret")],
            "evil: link it to ../outside/secret: its name: it has .. in it",
        ),
        (
            &[(link, "evil", "missing")],
            "evil: link it to missing: No such file or directory; the other name must come before it in the layer",
        ),
        (
            &[(file, ".wh..wh..opq", "")],
            ".wh..wh..opq: a whiteout: it hides all layers below, which an overlay cannot say",
        ),
        (&[(file, "a/.wh.b/c", "")], "a/.wh.b/c: its name: it lies in a whiteout, which is no directory"),
        (&[(file, "./", "")], "./: its name: that of the directory that all is in"),
        (&[(symlink, ".", "..")], ".: its name: that of the directory that all is in"),
        (&[(file, ".wh..", "")], ".wh..: a whiteout: it hides nothing that has a name"),
        (&[(file, ".wh...", "")], ".wh...: a whiteout: it hides nothing that has a name"),
        (
            &[(EntryType::Block, "disk", "")],
            "disk: a device node: not unpacked unless it is asked for; --devices allows them",
        ),
        (
            &[(EntryType::Char, "null", "")],
            "null: a device node: not unpacked unless it is asked for; --devices allows them",
        ),
        (&[(file, "a", ""), (file, "a/b", "")], "a/b: a: Not a directory; it is a file, or lies in one"),
        (&[(dir, "a", ""), (file, "a", "")], "a: a file: a directory of this name is in the layer too"),
        (&[(EntryType::new(b'Z'), "a", "")], "a: an entry: no layer has one of type 'Z'"),
    ];
    for (entries, why) in cases {
        layer(&scene.path("layer.tar"), entries);
        let run = scene.tool("ovl-layer").args(["-x", "layer.tar", "dir"]).assert().code(125).stdout("");
        run.stderr(format!("ovl-layer: layer.tar: {why}\n"));
        scene
            .script("ls -A . outside")
            .assert()
            .success()
            .stdout(".:\nlayer.tar\noutside\n\noutside:\nsecret\n");
    }
    scene.script("cat outside/secret; ls /etc/evil 2>&1 | grep -c No.such").assert().stdout("secret\n1\n");
}

#[test]
fn a_link_that_was_put_where_a_file_goes_is_replaced_and_not_followed() {
    let scene = Scene::new();
    scene.tree(".", &[("secret", "secret\n")]);
    let secret = scene.path("secret").display().to_string();
    let entries = [(EntryType::Symlink, "a", secret.as_str()), (EntryType::Regular, "a", "")];
    layer(&scene.path("layer.tar"), &entries);
    let script = "ovl-layer -x layer.tar dir; cat secret dir/a; test -L dir/a || echo a file";
    scene.script(script).assert().success().stdout("secret\nevil\na file\n");
}

#[test]
fn the_overlays_own_attributes_are_no_layers_to_say() {
    let scene = Scene::new();
    for name in ["trusted.overlay.redirect", "user.overlay.opaque"] {
        let mut layer = Builder::new(fs::File::create(scene.path("layer.tar")).expect("layer"));
        layer
            .append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), &b"y"[..])])
            .expect("extension");
        let mut header = Header::new_ustar();
        header.set_path("dir").expect("path");
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        header.set_cksum();
        layer.append(&header, &b""[..]).expect("entry");
        drop(layer.into_inner());
        let run = scene.tool("ovl-layer").args(["-x", "layer.tar", "dir"]).assert().code(125);
        run.stderr(format!(
            "ovl-layer: layer.tar: dir: its attribute {name}: the overlay's own is for no layer to say\n"
        ));
    }
}

#[test]
fn a_layer_may_not_be_larger_than_was_said() {
    let scene = Scene::new();
    let script = "mkdir upper; head -c 3M /dev/zero > upper/zeros; touch upper/a upper/b; ovl-layer upper -o bomb.tar.zst; \
                  [ $(stat -c %s bomb.tar.zst) -lt 9999 ] && echo small; \
                  ovl-layer -x bomb.tar.zst --max-size 2M dir; ovl-layer -x bomb.tar.zst --max-entries 2 dir; ls; \
                  ovl-layer -x bomb.tar.zst --max-size 3M --max-entries 3 dir; ls dir";
    let run = scene.script(script).assert().success().stdout("small\nbomb.tar.zst\nupper\na\nb\nzeros\n");
    run.stderr(
        "ovl-layer: bomb.tar.zst: zeros: more than 2M; --max-size allows more\n\
         ovl-layer: bomb.tar.zst: zeros: more than 2 entries; --max-entries allows more\n",
    );
    // A name that never ends is not read to its end.
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..4].copy_from_slice(b"name");
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    fs::write(scene.path("long.tar"), header.as_bytes()).expect("layer");
    let script = "(cat long.tar; cat /dev/zero) | cg-set mem=64M -- ovl-layer -x - dir2; ls -d dir2 2>&1 | grep -c No.such";
    let run = scene.script(script).assert().success().stdout("1\n");
    run.stderr("ovl-layer: read -: more than it may hold\n");
}

#[test]
fn a_broken_layer_is_said_so() {
    let scene = Scene::new();
    let script = "mkdir upper; head -c 100k /dev/urandom > upper/file; ovl-layer upper -o whole.tar; head -c 50k whole.tar > half.tar; \
                  ovl-layer -x half.tar dir; head -c 2000 /dev/urandom > noise.tar; ovl-layer -x noise.tar dir; ls -A";
    let run = scene.script(script).assert().success().stdout("half.tar\nnoise.tar\nupper\nwhole.tar\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "ovl-layer: half.tar: file: read it: the layer ends in the middle of it");
    let noise = |name: &str| format!("ovl-layer: read {name}: not a tar, nor one compressed by gzip or zstd");
    assert_eq!(lines[1], noise("noise.tar"));
    let script = "head -c 2000 /dev/urandom >> upper/file; ovl-layer upper -o - | tail -c +600 | ovl-layer -x - dir; echo text > short.tar; \
                  ovl-layer -x short.tar dir; ovl-layer upper -o whole.tar.gz; head -c 20 whole.tar.gz > cut.gz; ovl-layer -x cut.gz dir 2>&1 | \
                  grep -c not.a.tar";
    let run = scene.script(script).assert().stdout("0\n");
    run.stderr(format!("{}\n{}\n", noise("-"), noise("short.tar")));
}

#[test]
fn a_layer_that_is_cut_between_entries_is_refused() {
    let scene = Scene::new();
    // A header and a block for each file, and then empty blocks.
    let script = "mkdir upper; echo a >upper/a; echo b >upper/b; tar -C upper -cf whole.tar a b; for blocks in 0 2 4 5 6; do \
                  head -c $((blocks * 512)) whole.tar >cut.tar; ovl-layer -x cut.tar dir; echo $?; gzip -c cut.tar | ovl-layer -x - zipped; echo $?; rm -rf dir zipped; done; ls -A";
    let run = scene.script(script).assert().success();
    let cut = |name: &str| {
        format!(
            "ovl-layer: read {name}: it does not end as a tar does, so entries may be missing; it was cut, or what made it \
             did not finish\n"
        )
    };
    // One empty block is an end too, as it is to GNU tar.
    run.stdout("125\n125\n".repeat(3) + &"0\n".repeat(4) + "cut.tar\nupper\nwhole.tar\n")
        .stderr((cut("cut.tar") + &cut("-")).repeat(3));
}

#[test]
fn a_damaged_layer_leaves_nothing() {
    let scene = Scene::new();
    let script = "mkdir upper; head -c 100k /dev/urandom > upper/file; \
                  for end in tar.gz tar.zst; do ovl-layer upper -o whole.$end; cp whole.$end bad.$end; size=$(stat -c %s bad.$end); \
                  printf XY | dd of=bad.$end bs=1 seek=$((size / 2)) conv=notrunc status=none; ovl-layer -x bad.$end dir; echo $?; \
                  head -c $((size - 3)) whole.$end > cut.$end; ovl-layer -x cut.$end dir; echo $?; done; \
                  tar -C upper -b 2048 -czf padded.tar.gz file; ovl-layer -x padded.tar.gz dir; echo $?; cmp dir/file upper/file; ls -A";
    let run = scene.script(script).assert().success();
    run.stdout("125\n125\n125\n125\n0\nbad.tar.gz\nbad.tar.zst\ncut.tar.gz\ncut.tar.zst\ndir\npadded.tar.gz\nupper\nwhole.tar.gz\nwhole.tar.zst\n");
}

#[test]
fn a_time_before_1970_comes_back() {
    let scene = Scene::new();
    let script = "mkdir upper; touch -d @-3.25 upper/a; touch -d @-0.5 upper/b; touch -d @-7 upper/c; ovl-layer upper -o layer.tar; \
                  ovl-layer -x layer.tar dir; mkdir tars; tar -C tars -xf layer.tar 2>/dev/null; stat -c %.2Y {dir,tars}/{a,b,c}";
    scene.script(script).assert().success().stdout("-3.25\n-0.50\n-7.00\n".repeat(2)).stderr("");
}

#[test]
fn what_other_tars_write_is_understood_or_refused() {
    let scene = Scene::new();
    let script = "mkdir in; echo a > in/a; truncate -s 1M in/sparse; echo end >> in/sparse; cd in; \
                  tar --format pax --pax-option globexthdr.name=g,comment=x -cf ../global.tar a; tar --format pax -S -cf ../pax.tar sparse; \
                  tar --format gnu -S -cf ../gnu.tar sparse; cd ..; \
                  for name in global pax gnu; do ovl-layer -x $name.tar $name; echo $?; done 2>said; sed 's/File.[0-9]*/File/' said >&2; rm said; cat global/a; ls global; cmp gnu/sparse in/sparse; ls";
    let run = scene.script(script).assert().success();
    run.stdout("0\n125\n0\na\na\nglobal\nglobal.tar\ngnu\ngnu.tar\nin\npax.tar\n").stderr(
        "ovl-layer: pax.tar: ./GNUSparseFile/sparse: its holes: they are told in a way of GNU tar's own, which is not read; \
         make the layer without --sparse\n",
    );
    // A header that says something of all entries has its bound too.
    let mut header = Header::new_ustar();
    header.set_path("global").expect("path");
    header.set_entry_type(EntryType::XGlobalHeader);
    header.set_size(1 << 30);
    header.set_cksum();
    fs::write(scene.path("long.tar"), header.as_bytes()).expect("layer");
    let run = scene.script("(cat long.tar; cat /dev/zero) | ovl-layer -x - dir; ls -d dir").assert();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.starts_with("ovl-layer: read -: more than it may hold\n"), "{said}");
}

#[test]
fn an_existing_directory_is_taken_only_if_it_is_empty() {
    let scene = Scene::new();
    let script = "mkdir upper full empty; touch upper/file full/mine; ovl-layer upper -o layer.tar; \
                  ovl-layer -x layer.tar full; ls -A full; ovl-layer -x layer.tar empty; ls -A empty; ls -A";
    let run = scene.script(script).assert().success().stdout("mine\nfile\nempty\nfull\nlayer.tar\nupper\n");
    run.stderr("ovl-layer: make full: Directory not empty; it is there, and not empty\n");
}

#[test]
fn an_ordinary_user_unpacks_what_is_theirs_then() {
    let scene = Scene::new();
    changes(&scene);
    scene.tree("theirs", &[]);
    let script =
        format!("rm upper/null; ovl-layer upper -o theirs/layer.tar.gz; chown -R {ORDINARY_USER} theirs");
    scene.script(&script).assert().success();
    let script = "cd theirs; ovl-layer -x layer.tar.gz dir; stat -c '%u %a %Y' dir/file; ls -l dir/removed | cut -c1; \
                  getfattr -n user.color --only-values dir/file; getfattr -n user.overlay.opaque --only-values dir/dir";
    let run = scene.script_as_user(script).assert().success().stderr("");
    run.stdout(format!("{ORDINARY_USER} 4711 1234567890\nc\nbluey"));
}

#[test]
fn an_ordinary_user_gets_nothing_of_a_layer_that_cannot_be_put_into_its_place() {
    let scene = Scene::new();
    scene.tree("theirs", &[]);
    let script = "cd theirs; mkdir -p in/ro full; touch in/ro/file full/mine; chmod 555 in/ro; tar -C in -cf good.tar ro; \
                  cp good.tar bad.tar; ovl-layer -x good.tar full; ls -A; \
                  (cd full; tar -cf ../late.tar ../in/ro mine 2>/dev/null); tar -C in -cf late.tar ro ro/file --transform 's,^ro/file$,ro/file/under,'; \
                  ovl-layer -x late.tar dir 2>/dev/null; echo $?; ls -A";
    scene.script(&format!("chown {ORDINARY_USER} theirs")).assert().success();
    let run = scene.script_as_user(script).assert().success();
    let all = "bad.tar\nfull\ngood.tar\nin\n";
    run.stdout(format!("{all}125\nbad.tar\nfull\ngood.tar\nin\nlate.tar\n"))
        .stderr("ovl-layer: make full: Directory not empty; it is there, and not empty\n");
}

#[test]
fn nothing_is_left_of_a_layer_when_it_is_ended() {
    let scene = Scene::new();
    let script = "mkdir upper; truncate -s 2G upper/zeros; timeout 0.3 ovl-layer upper -o layer.tar.gz; echo $?; ls; rm upper/zeros; \
                  umask 027; for _ in 1 2; do ovl-layer upper -o layer.tar.gz; done; stat -c '%n %a' layer*";
    let run = scene.script(script).assert().success().stderr("");
    run.stdout("124\nupper\nlayer.tar.gz 640\n");
}
