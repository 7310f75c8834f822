//! `ovl-mount`: see the library's documentation and ovl-mount(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    chain::main::<ovl_mount::Args>()
}
