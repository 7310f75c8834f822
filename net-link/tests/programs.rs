//! Real programs in the boxes of a LAN: what they do well, how they fail, and how they go on.

mod lab;

use chain_testing::Scene;
use lab::{Lab, script};

/// Frames that were lost on the way to a box and from it, by what its report says.
const LOST: &str = r#"lost() { local lost sum=0; for lost in $(grep -o '"lost":[0-9]*' report | cut -d : -f 2); do ((sum += lost)); done; echo $sum; }"#;

#[test]
fn a_page_arrives_as_it_is_however_much_is_lost() {
    Lab::each(|lab| {
        // With any other three requests for the server's station could be lost one after the other, and that is an error.
        let seed = lab.seed("1").unwrap_or_default();
        let run = lab.script(&format!(
            r#"{LOST}
               head -c 200000 /dev/urandom > page
               begin --lan lab ip=10.9.0.1/24 -- bash -c "$serve"
               for loss in 0% 20%; do
                   net-link --lan lab --report report ip=10.9.0.2/24 loss=$loss {seed} -- curl -sS -o got http://10.9.0.1/page
                   cmp page got && echo "all $(($(lost) > 0))"
               done
               finish"#
        ));
        run.success().stderr("").stdout("all 0\nall 1\n");
    });
}

#[test]
fn a_client_is_told_of_a_partition_and_gets_all_when_the_lan_is_whole() {
    Lab::each(|lab| {
        let run = lab.script(
            r#"head -c 3000000 /dev/urandom > page
               begin --lan lab name=web ip=10.9.0.1/24 -- bash -c "$serve"
               mkfifo half
               # It gives up when nothing has come for a time, and asks for the rest until it has all.
               net-link --lan lab name=client ip=10.9.0.2/24 in.rate=16mbit -- bash -c '
                   curl -sS -y 1 -Y 1 -o got http://10.9.0.1/page & curl=$!
                   until [[ $(stat -c %s got 2>/dev/null || echo 0) -gt 500000 ]]; do :; done; echo > half
                   wait $curl; echo "curl $?"
                   echo > half
                   until curl -sS -m 2 -r $(stat -c %s got)- http://10.9.0.1/page >>got 2>/dev/null; do :; done' &
               client=$!
               read -r < half; net-link --set lab partition=web/client
               read -r < half; [[ $(stat -c %s got) -lt 3000000 ]] && echo not all
               net-link --set lab heal
               wait $client; cmp page got && echo all
               finish"#,
        );
        let said = run.success();
        let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
        assert_eq!(said, "curl 28\nnot all\nall\n");
    });
}

/// Debian's server in one box and its client in another. It does not run as root, so root makes the boxes.
#[test]
fn a_database_and_its_client_go_on_after_a_partition_with_what_was_committed() {
    let scene = Scene::new();
    scene.tree("data", &[]);
    scene.script("chown postgres: data; chmod 700 data").assert().success();
    let run = script(
        &scene,
        r#"export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
           as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
           as_postgres initdb -A trust -D data >log || cat log
           echo "host all all 10.9.0.0/24 trust" >> data/pg_hba.conf
           begin --lan lab name=db ip=10.9.0.1/24 -- setpriv --reuid postgres --regid postgres --clear-groups bash -c '
               postgres -D data -k "" -h 10.9.0.1 >data/log 2>&1 & server=$!
               until pg_isready -q -h 10.9.0.1; do kill -0 $server || { cat data/log; exit 1; }; done
               echo ready; trap "kill -INT $server" TERM; until wait $server; do kill -0 $server 2>/dev/null || break; done'
           mkfifo asks answers
           # One connection is kept, whose kernel gives up what is not acknowledged after a second.
           begin --lan lab name=client ip=10.9.0.2/24 -- bash -c '
               echo ready
               psql -qAt "host=10.9.0.1 user=postgres dbname=postgres connect_timeout=2 tcp_user_timeout=1000" <asks >answers 2>&1; echo "psql $?" >answers'
           exec 3>asks 4<answers
           ask() { echo "$1" >&3; read -r <&4; echo "$REPLY"; }
           again() { net-link --lan lab ip=10.9.0.3/24 "${@:2}" -- psql -qAtc "$1" "host=10.9.0.1 user=postgres dbname=postgres connect_timeout=3" 2>&1; }
           echo "create table t(x int);" >&3
           for number in {1..20}; do ask "insert into t values ($number) returning x;" >/dev/null; done
           ask "select count(*), sum(x) from t;"
           again "select count(*) from t" loss=20% seed=7
           net-link --set lab partition=db
           # Which of the two depends on who is slower.
           again "select count(*) from t" | grep -c "timeout expired\|No route to host"
           ask "insert into t values (21) returning x;" | grep -o "could not receive data from server: Connection timed out"
           net-link --set lab heal
           again "insert into t values (22)"
           again "select count(*), sum(x), max(x) from t"
           exec 3>&-; cat <&4 | grep -o "psql 2"; unset "boxes[1]"
           finish"#,
    );
    let run = run.success().stderr("");
    run.stdout(
        "20|210\n20\n1\ncould not receive data from server: Connection timed out\n21|232|22\npsql 2\n",
    );
}
