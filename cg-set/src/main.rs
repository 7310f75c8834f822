//! `cg-set`: see the library's documentation and cg-set(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    chain::main::<cg_set::Args>()
}
