//! Help and errors, word for word: each file in `cmd` is a session at a shell.

use chain_testing::Scene;

#[test]
fn help_and_errors_are_as_written() {
    // Bad input leaves nothing behind, which the scene looks for.
    let _scene = Scene::new();
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
