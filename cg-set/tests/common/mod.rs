//! What the tests of groups share.

#![allow(dead_code, reason = "not every test file needs all of it")]

use chain_testing::Scene;
use serde_json::Value;

/// A group that stays until the test removes it.
pub(crate) const NAME: &str = "chainbox-test";

/// A function for bash that shows a named group's own settings, and what runs in it, a line for each.
pub(crate) const SHOWN: &str = "shown() { \
        cg-set --name $1 | awk -v own=$1 '\
            !NF { below = 1 } \
            !below && $NF == own && $2 != \"max\" { print $1 \"=\" $2 } \
            below && /^ *[0-9]/ { print \"process=\" $1, $2 }'; \
    }";

/// The report of a command that `words` hold.
pub(crate) fn report(scene: &Scene, words: &[&str]) -> Value {
    let _ = scene.tool("cg-set").args(["--report", "report"]).args(words).assert();
    let text = std::fs::read_to_string(scene.path("report")).expect("a report");
    assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}
