//! `priv-drop`: see the library's documentation and priv-drop(1).

#![no_main]

chain::main!(priv_drop::Args);
