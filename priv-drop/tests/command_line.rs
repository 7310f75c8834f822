//! Help and errors, word for word: each file in `cmd` is a session at a shell.

use chain_testing::{Scene, kernel_is_from, skip};

#[test]
fn help_and_errors_are_as_written() {
    // Bad input leaves nothing behind, which the scene looks for.
    let _scene = Scene::new();
    let cases = trycmd::TestCases::new();
    cases.case("tests/cmd/*.trycmd");
    if kernel_is_from((6, 12)) {
        cases.case("tests/cmd/landlock/*.trycmd");
    } else {
        skip("what is told of landlock's rules needs Linux 6.12");
    }
}
