//! `root-enter`: see the library's documentation and root-enter(1).

#![no_main]

chain::main!(root_enter::Args);
