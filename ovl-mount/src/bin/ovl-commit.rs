//! `ovl-commit`: see the library's documentation and ovl-commit(1).

#![no_main]

chain::main!(ovl_mount::commit::Args);
