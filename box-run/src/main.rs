//! `box-run`: see the library's documentation and box-run(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    chain::main::<box_run::Args>()
}
