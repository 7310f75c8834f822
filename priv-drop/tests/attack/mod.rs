//! A program that tries what a box must not be able to do.

use std::os::unix::process::ExitStatusExt;

use chain_testing::Scene;

/// Compiles it into the scene.
pub(crate) fn compile(scene: &Scene) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attack/attack.c");
    let compile = format!("gcc -static -pthread -Wall -Werror -o attack {source}");
    scene.script(&compile).assert().success();
}

/// What the kernel answers: `done`, the name of an error, or `signal` and a number. `tool` stands in front.
pub(crate) fn answer(scene: &Scene, tool: &str, attack: &str) -> String {
    let output = scene.script(&format!("exec {tool} ./attack {attack}")).output().expect("attack");
    match output.status.signal() {
        Some(signal) => format!("signal {signal}"),
        None if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        None => panic!("{tool} {attack}: {output:?}"),
    }
}
