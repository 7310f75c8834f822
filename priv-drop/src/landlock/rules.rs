//! The little language of `--landlock`: `ro:/usr,rw:/data,tcp-connect:443`.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

/// What may be done with a file, or with all files in and below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Read and execute files.
    Exec,
    /// That, and list directories.
    ReadOnly,
    /// That, and write, make, remove and move files, but no devices; and ioctl(2) on devices.
    ReadWrite,
}

/// What may be done with a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAccess {
    /// Connect to it.
    Connect,
    /// Listen on it.
    Bind,
}

/// Something that is allowed. What no rule of its kind allows is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Use of files.
    File {
        /// What may be done.
        access: FileAccess,
        /// In NEXT's root.
        path: PathBuf,
    },
    /// Use of a TCP port.
    Port {
        /// What may be done.
        access: PortAccess,
        /// Its number; 0 to bind is any that the kernel picks.
        port: u16,
    },
}

/// Rules as one word has them, with commas between them. A backslash takes the meaning from a comma or a
/// backslash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

const FILES: [(&str, FileAccess); 3] =
    [("exec", FileAccess::Exec), ("ro", FileAccess::ReadOnly), ("rw", FileAccess::ReadWrite)];
const PORTS: [(&str, PortAccess); 2] = [("tcp-connect", PortAccess::Connect), ("tcp-bind", PortAccess::Bind)];

impl Rules {
    /// Whether one of them is about files.
    pub(crate) fn is_about_files(&self) -> bool {
        self.0.iter().any(|rule| matches!(rule, Rule::File { .. }))
    }

    /// Takes the word as it was typed.
    pub fn parse(word: &OsStr) -> Result<Self, String> {
        let parts = split(word.as_bytes())
            .ok_or("a backslash before neither a comma nor a backslash; in a path it is written \\\\")?;
        let which = |part: &[u8], why: String| match parts.len() {
            1 => why,
            _ => format!("{}: {why}", String::from_utf8_lossy(part)),
        };
        let rule = |part: &Vec<u8>| Rule::parse(part).map_err(|why| which(part, why));
        parts.iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// The word that makes the same.
    pub(crate) fn word(&self) -> OsString {
        let rules: Vec<_> = self.0.iter().map(Rule::escaped).collect();
        OsString::from_vec(rules.join(&b','))
    }
}

impl Rule {
    /// Parses `ACCESS:PATH` or `ACCESS:PORT`, without any escapes.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let colon = text.iter().position(|byte| *byte == b':');
        let (access, rest) = match colon {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => {
                return Err(String::from(
                    "not a rule; write one such as ro:/usr, rw:/data, exec:/bin or tcp-connect:443",
                ));
            }
        };
        if let Some((_, access)) = FILES.iter().find(|(name, _)| name.as_bytes() == access) {
            if rest.is_empty() || rest.contains(&0) {
                return Err(String::from("no path"));
            }
            return Ok(Self::File { access: *access, path: OsStr::from_bytes(rest).into() });
        }
        let Some((_, access)) = PORTS.iter().find(|(name, _)| name.as_bytes() == access) else {
            return Err(String::from("neither ro, rw, exec, tcp-connect nor tcp-bind"));
        };
        let digits = !rest.is_empty() && rest.iter().all(u8::is_ascii_digit);
        let port = std::str::from_utf8(rest).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        port.map(|port| Self::Port { access: *access, port })
            .ok_or_else(|| String::from("not the number of a port, 0 to 65535"))
    }

    fn escaped(&self) -> Vec<u8> {
        match self {
            Self::Port { .. } => self.to_string().into_bytes(),
            Self::File { access, path } => {
                let mut escaped = [name(&FILES, access).as_bytes(), b":"].concat();
                for byte in path.as_os_str().as_bytes() {
                    if matches!(byte, b',' | b'\\') {
                        escaped.push(b'\\');
                    }
                    escaped.push(*byte);
                }
                escaped
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::File { access, path } => write!(f, "{}:{}", name(&FILES, access), path.display()),
            Self::Port { access, port } => write!(f, "{}:{port}", name(&PORTS, access)),
        }
    }
}

fn name<T: PartialEq>(names: &[(&'static str, T)], access: &T) -> &'static str {
    names.iter().find(|(_, known)| known == access).map_or("", |(name, _)| name)
}

/// Splits at the commas that no backslash stands before, and takes the backslashes away. `None` if one
/// stands before anything else.
fn split(word: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = word.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' => parts.push(Vec::new()),
            b'\\' => {
                let byte = bytes.next().filter(|byte| b",\\".contains(byte))?;
                parts.last_mut()?.push(byte);
            }
            _ => parts.last_mut()?.push(byte),
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::select};

    fn parse(text: &str) -> Result<Rules, String> {
        Rules::parse(OsStr::new(text))
    }

    #[test]
    fn a_comma_in_a_path_is_escaped_and_a_colon_is_not() {
        let rules = parse(r"ro:/a\,b\\:c,tcp-bind:0").expect("parses");
        let path = Rule::File { access: FileAccess::ReadOnly, path: r"/a,b\:c".into() };
        assert_eq!(rules.0, [path, Rule::Port { access: PortAccess::Bind, port: 0 }]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            ",",
            "ro",
            "ro:",
            ":/",
            "ro:/,",
            "r:/",
            "RO:/",
            "rw:/a,,ro:/b",
            r"ro:/\a",
            r"ro:/\",
            "tcp-connect:",
            "tcp-connect:65536",
            "tcp-connect:http",
            "tcp-bind:+1",
            "tcp-bind:-1",
            "tcp:80",
            "ro:/a\0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let file = (select(&FILES[..]), "[^\\x00]{1,12}")
            .prop_map(|((_, access), path)| Rule::File { access, path: path.into() });
        let port =
            (select(&PORTS[..]), any::<u16>()).prop_map(|((_, access), port)| Rule::Port { access, port });
        prop_oneof![file, port]
    }

    proptest! {
        #[test]
        fn written_and_parsed_again_they_are_the_same(rules in proptest::collection::vec(rule(), 1..5)) {
            let rules = Rules(rules);
            prop_assert_eq!(Rules::parse(&rules.word()), Ok(rules));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[a-z:,/\\\\0-9-]{0,30}") {
            let _ = (Rules::parse(OsStr::from_bytes(&bytes)), parse(&text));
        }
    }
}
