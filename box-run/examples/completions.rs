//! Writes the shells' completions of all programs, from the descriptions that their parsers use:
//! `cargo run --example completions -- DIR` makes DIR/bash, DIR/zsh and DIR/fish.

use std::{env, fs, io, path::Path};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

fn main() -> io::Result<()> {
    let dir = env::args_os().nth(1).ok_or_else(|| io::Error::other("name a directory"))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let dir = Path::new(&dir).join(shell.to_string());
        fs::create_dir_all(&dir)?;
        for mut program in programs() {
            let name = program.get_name().to_owned();
            generate_to(shell, &mut program, name, &dir)?;
        }
    }
    Ok(())
}

fn programs() -> [Command; 10] {
    [
        ns_enter::Args::command(),
        cg_set::Args::command(),
        ovl_mount::Args::command(),
        ovl_mount::diff::Args::command(),
        ovl_mount::commit::Args::command(),
        ovl_mount::layer::Args::command(),
        root_enter::Args::command(),
        priv_drop::Args::command(),
        net_link::Args::command(),
        box_run::Args::command(),
    ]
}
