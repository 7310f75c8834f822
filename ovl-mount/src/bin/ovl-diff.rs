//! `ovl-diff`: see the library's documentation and ovl-diff(1).

#![no_main]

chain::main!(ovl_mount::diff::Args);
