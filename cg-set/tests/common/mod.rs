//! What the tests of groups share.

#![allow(dead_code, reason = "not every test file needs all of it")]

/// A group that stays until the test removes it.
pub(crate) const NAME: &str = "chainbox-test";

/// A function for bash that shows a named group's own settings, and what runs in it, a line for each.
pub(crate) const SHOWN: &str = "shown() { \
        cg-set --name $1 | awk -v own=$1 '\
            !NF { below = 1 } \
            !below && $NF == own && $2 != \"max\" { print $1 \"=\" $2 } \
            below && /^ *[0-9]/ { print \"process=\" $1, $2 }'; \
    }";
