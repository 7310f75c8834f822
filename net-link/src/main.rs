//! `net-link`: see the library's documentation and net-link(1).

#![no_main]

chain::main!(net_link::Args);
