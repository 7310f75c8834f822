//! `ovl-layer`: see the library's documentation and ovl-layer(1).

#![no_main]

chain::main!(ovl_mount::layer::Args);
