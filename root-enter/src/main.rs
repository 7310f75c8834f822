//! `root-enter`: see the library's documentation and root-enter(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    chain::main::<root_enter::Args>()
}
