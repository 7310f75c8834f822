//! A database's view of the world: read-only software, one directory that is the host's, nothing else.

use std::{fs, path::Path, process::Command};

use chain_testing::Scene;

/// Debian's sqlite3 with the libraries that it needs, at their own paths.
fn sqlite(scene: &Scene) {
    let layer = scene.tree("sqlite", &[]);
    let ldd = Command::new("ldd").arg("/usr/bin/sqlite3").output().expect("ldd");
    let text = String::from_utf8_lossy(&ldd.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/usr/bin/sqlite3"]) {
        let copy = layer.join(Path::new(file).strip_prefix("/").expect("absolute"));
        fs::create_dir_all(copy.parent().expect("a directory")).expect("mkdir");
        fs::copy(file, copy).expect("sqlite3: run scripts/setup");
    }
}

#[test]
fn rows_that_one_box_writes_another_reads_and_nothing_else_can_be_written() {
    let scene = Scene::new();
    scene.rootfs("root");
    fs::create_dir_all(scene.path("root/var/lib/database/data")).expect("mkdir");
    scene.tree("data", &[]);
    sqlite(&scene);
    let sql = |statement: &str| {
        let options = ["--lower", "sqlite", "--root", "root", "--bind", "data:/var/lib/database/data"];
        let words = ["--", "/usr/bin/sqlite3", "/var/lib/database/data/db", statement];
        scene.tool("box-run").args(options).args(words).assert().success()
    };
    sql("create table t(x); insert into t values ('first'), ('second')").stdout("");
    sql("select count(*), max(x) from t").stdout("2|second\n");
    assert!(scene.path("data/db").is_file());

    let script = "for file in /new /etc/new /usr/bin/new; do (echo > $file) 2>/dev/null && echo wrote $file; done; \
                  ls /etc /sys 2>/dev/null; busybox cut -d' ' -f5 /proc/self/mountinfo | busybox grep -v '^/proc/\\|^/dev/[^ps]' | busybox sort";
    let options = ["--lower", "sqlite", "--root", "root", "--bind", "data:/var/lib/database/data"];
    let run = scene.tool("box-run").args(options).args(["--", "sh", "-c", script]).assert();
    run.stdout("/etc:\n/\n/dev\n/dev/pts\n/dev/shm\n/proc\n/var/lib/database/data\n");
}

#[test]
fn a_bound_directory_below_the_root_is_the_hosts_own() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("root/data", &[]);
    let options = [
        "--root",
        "root",
        "--tmp",
        "--bind",
        "root/data:/keep",
        "--",
        "sh",
        "-c",
        "echo > /keep/kept; echo > /lost",
    ];
    scene.tool("box-run").args(options).assert().success();
    assert!(scene.path("root/data/kept").exists() && !scene.path("root/lost").exists());
}

#[test]
fn a_bound_directory_is_the_hosts_own_even_if_every_usual_place_is_bound() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("root/data", &[]);
    let script = "box-run --root root --tmp $(for dir in /mnt /media /srv /opt; do [ ! -d $dir ] || echo --bind $dir:/b$dir; done) ";
    let in_layer = format!("{script} --bind root/data:/keep -- sh -c 'echo >/keep/written'");
    let run = scene.script(&in_layer).assert().code(125);
    let error = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(error.starts_with("box-run: no place to put the root together: "), "{error}");
    assert!(!scene.path("root/data/written").exists());

    scene.tree("data", &[]);
    let beside = format!("{script} --bind data:/keep -- sh -c 'echo >/keep/written'");
    scene.script(&beside).assert().success();
    assert!(scene.path("data/written").exists());
}
