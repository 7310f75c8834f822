//! `ns-enter`: see the library's documentation and ns-enter(1).

#![no_main]

chain::main!(ns_enter::Args);
