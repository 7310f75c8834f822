//! A real server's view of the world: PostgreSQL with the host's software, read-only, and its data in one directory
//! that stays, run as its own user.

use std::{fs, os::unix::process::ExitStatusExt};

use chain_testing::{Running, Scene};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The options of its box: of the host it has what Debian's package put below /usr, and who is who.
const BOX: &str = "box-run --root root --tmp --ro-bind /usr:/usr --ro-bind /etc/passwd:/etc/passwd \
                   --ro-bind /etc/group:/etc/group --bind data:/data --mem 512M --pids 100 -- \
                   setpriv --reuid postgres --regid postgres --clear-groups env PATH=$(echo /usr/lib/postgresql/*/bin):/usr/bin";

/// Starts the server in the box, and waits until it is ready.
const START: &str = "postgres -D /data -k /tmp -h \"\" >/tmp/log 2>&1 & \
                     until pg_isready -q -h /tmp; do kill -0 $! || { cat /tmp/log; exit 1; }; done";

fn root(scene: &Scene) {
    let script = "mkdir -p root/usr root/etc root/proc root/dev root/data root/tmp data; chmod 1777 root/tmp; \
                  for dir in bin lib lib64 sbin; do ln -s usr/$dir root/$dir; done; touch root/etc/passwd root/etc/group; \
                  chmod 700 data; chown postgres: data";
    scene.script(script).assert().success();
}

#[test]
fn what_a_server_has_acknowledged_is_there_after_it_was_killed_in_the_middle_of_writing() {
    let scene = Scene::new();
    root(&scene);
    let initdb = format!(
        "{BOX} sh -c 'initdb -D /data >/tmp/log || cat /tmp/log; id -un; touch /usr/x 2>&1 | grep -o Read-only.*'"
    );
    scene.script(&initdb).assert().success().stdout("postgres\nRead-only file system\n");

    let write = "psql -h /tmp -qc \"create table t(x int primary key)\" postgres; \
                 seq 1000000 | sed \"s/.*/insert into t values (&) returning x;/\" | psql -h /tmp -Atq postgres";
    let mut server = scene.command("bash");
    server.args(["-c", &format!("echo ready; exec {BOX} sh -c '{START}; {write}'")]);
    let mut server = Running::start(server);
    let mut acknowledged = 0;
    while acknowledged < 500 {
        acknowledged = server.line().trim().parse().expect("a number");
    }
    // The first process of the box: with it all others are killed at once.
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let first = fs::read_to_string(children).expect("children").trim().parse().expect("one child");
    kill(Pid::from_raw(first), Signal::SIGKILL).expect("kill");
    let (rest, status) = server.end();
    assert_eq!(status.signal(), Some(9));
    assert!(rest.lines().count() < 100_000, "it was in the middle");
    let acknowledged = rest.lines().filter_map(|line| line.parse().ok()).next_back().unwrap_or(acknowledged);

    let read = "psql -h /tmp -Atqc \"select count(*), max(x) from t\" postgres; pg_amcheck -h /tmp --install-missing postgres && echo sound; \
                grep -c \"automatic recovery in progress\" /tmp/log; pg_ctl -D /data stop -m fast >/dev/null && echo stopped";
    let run = scene.script(&format!("{BOX} sh -c '{START}; {read}'")).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let mut lines = said.lines();
    let (count, most) = lines.next().and_then(|line| line.split_once('|')).expect("two numbers");
    // The last one may have been written before it could be said.
    assert!(
        count == most && [acknowledged, acknowledged + 1].contains(&count.parse().expect("a number")),
        "{said} {acknowledged}"
    );
    assert_eq!(lines.collect::<Vec<_>>(), ["sound", "1", "stopped"]);
}
