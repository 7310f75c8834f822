//! `ovl-mount`: see the library's documentation and ovl-mount(1).

#![no_main]

chain::main!(ovl_mount::Args);
