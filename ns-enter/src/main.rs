//! `ns-enter`: see the library's documentation and ns-enter(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    chain::main::<ns_enter::Args>()
}
