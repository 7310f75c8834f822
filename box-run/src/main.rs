//! `box-run`: see the library's documentation and box-run(1).

#![no_main]

chain::main!(box_run::Args);
