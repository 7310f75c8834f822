//! `cg-set`: see the library's documentation and cg-set(1).

#![no_main]

chain::main!(cg_set::Args);
