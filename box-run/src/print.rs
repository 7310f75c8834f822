//! The chain of lone tools that makes the same box, as a line for sh.

use std::{borrow::Cow, ffi::OsString};

use chain::{Error, Links, Options, Result};

/// Each link's words, then the command, quoted so that `sh` reads them back as they are.
pub(crate) fn chain(links: &Links, options: &Options, next: &[OsString]) -> Result<String> {
    let mut words: Vec<OsString> = Vec::new();
    for link in links {
        words.push(link.name().into());
        words.extend(options.words());
        words.extend(link.words());
        words.push("--".into());
    }
    words.extend(next.iter().cloned());
    let mut line = String::new();
    for word in &words {
        let word = word.to_str().ok_or_else(|| {
            Error::new(
                format!("--print {}", word.display()),
                "not UTF-8, so it cannot be printed for a shell",
            )
        })?;
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quote(word));
    }
    Ok(line + "\n")
}

/// `mem=64M` needs no quotes: the first word, which could be an assignment, is always a tool.
fn quote(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./,:=@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) { word.into() } else { shell_words::quote(word) }
}
