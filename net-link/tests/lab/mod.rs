//! Scripts in a network namespace of their own, so that no packet of a test reaches the machine's interfaces.

use assert_cmd::assert::Assert;
use chain_testing::Scene;

/// `begin WORDS` starts `net-link WORDS` and goes on when its command has said that it is ready; `finish` ends all of
/// those. `$serve` is a web server for a box.
/// `ready_at PORT` says so when somebody listens there.
const FUNCTIONS: &str = r#"
    boxes=()
    begin() {
        local line ready
        exec {ready}< <(exec net-link "$@")
        boxes+=($!)
        read -r line <&"$ready"
        [[ $line == ready ]] || { echo "not ready: $line"; exit 1; }
    }
    finish() {
        kill "${boxes[@]}"
        local box
        for box in "${boxes[@]}"; do while [[ -e /proc/$box ]]; do read -rt 0.01 <> <(:) || :; done; done
    }
    ready_at() { until : 2>/dev/null <>/dev/tcp/127.0.0.1/$1; do :; done; echo ready; }
    export -f ready_at
    serve='ready_at 80 & exec busybox httpd -f -p 80 -h .'
"#;

/// A bash script with these functions, which has ended.
pub(crate) fn script(scene: &Scene, script: &str) -> Assert {
    scene.script(&format!("exec ns-enter net -- bash -c '{}'", quoted(script))).assert()
}

/// The same as an ordinary user, who is root in a user namespace.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) fn script_as_user(scene: &Scene, script: &str) -> Assert {
    scene.script_as_user(&format!("exec ns-enter user,net -- bash -c '{}'", quoted(script))).assert()
}

fn quoted(script: &str) -> String {
    format!("{FUNCTIONS}\n{script}").replace('\'', "'\\''")
}
