//! Many boxes at once: each works, and none leaves a trace.

use chain_testing::Scene;

/// Starts boxes that are all there at the same time, again and again, and compares what there is
/// before and after. CROWD_ROUNDS says how often, where a machine is too slow for 20 in a test's time.
const ROUNDS: &str = r#"
set -e
fail() { echo "$*"; exit 1; }
look() {
    echo /proc/[0-9]* >processes.$1
    cat /proc/self/mountinfo >mounts.$1
    ns-enter --list >namespaces.$1
}
mkfifo ready go
exec 3<>ready
look before
for ((round = 1; round <= ${CROWD_ROUNDS:-20}; round++)); do
    exec 4<>go
    boxes=()
    for box in {1..100}; do
        ns-enter uts,pid,mnt,ipc,net -- sh -c 'echo "$$" /proc/[0-9]*; read line; exit 42' <go >&3 3>&- 4>&- &
        boxes+=($!)
    done
    for box in "${boxes[@]}"; do
        read -r seen <&3
        [ "$seen" = "1 /proc/1" ] || fail "round $round: a box sees $seen"
    done
    # The end of their input.
    exec 4>&-
    for box in "${boxes[@]}"; do
        status=0
        wait $box || status=$?
        [ $status = 42 ] || fail "round $round: a box ended with $status"
    done
done
look after
for what in processes mounts namespaces; do
    diff $what.before $what.after || fail "$what are left over"
done
"#;

/// Waits until the kernel's own count of each kind is back to what it was, 0 or, of those that the user
/// namespace began with, 1: one more can be made then. It counts what no process and no file shows,
/// and frees some of that a while later, of which it gives no event.
const COUNTS: &str = r#"
for kind in uts=1 ipc=1 net=1 pid=2 mnt=2; do
    echo ${kind#*=} >/proc/sys/user/max_${kind%=*}_namespaces
    until ns-enter ${kind%=*} -- true 2>said; do
        grep -q "No space left on device" said || fail "$(<said)"
        read -t 0.01 -u 3 line || true
    done
    echo no ${kind%=*} left
done
"#;

#[test]
fn a_hundred_boxes_at_once_work_and_leave_nothing() {
    let scene = Scene::new();
    std::fs::write(scene.path("boxes"), [ROUNDS, COUNTS].concat()).expect("write");
    // In a user namespace of its own, to which every namespace that is made here belongs, and in a pid
    // and a mount namespace that show nobody else's: the machine may be shared.
    let run = scene.tool("ns-enter").args(["user,pid,mnt", "--", "bash", "boxes"]).assert().success();
    run.stdout("no uts left\nno ipc left\nno net left\nno pid left\nno mnt left\n").stderr("");
}
