//! Text for people: aligned columns, of which only the last holds spaces.

use std::{fmt::Write, io};

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Names.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

impl Column {
    fn header(self) -> &'static str {
        match self {
            Self::Left(header) | Self::Right(header) => header,
        }
    }
}

/// A header and lines below it.
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    lines: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// No lines yet.
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, lines: Vec::new() }
    }

    /// Adds a line, which has no line breaks.
    pub fn add(&mut self, cells: [String; N]) {
        self.lines.push(cells);
    }

    /// The header and a line for each that was added, without spaces at the end, cut to so many
    /// characters if there is a `width`.
    pub fn text(&self, width: Option<usize>) -> String {
        let header = self.columns.map(|column| column.header().to_owned());
        let mut widths = [0; N];
        for line in [&header].into_iter().chain(&self.lines) {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for line in [&header].into_iter().chain(&self.lines) {
            text.push_str(cut(&self.aligned(line, &widths), width).trim_end());
            text.push('\n');
        }
        text
    }

    fn aligned(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let space = if at == 0 { "" } else { " " };
            // Writing to a string does not fail.
            let _ = match self.columns[at] {
                Column::Left(_) => write!(line, "{space}{cell:<width$}"),
                Column::Right(_) => write!(line, "{space}{cell:>width$}"),
            };
        }
        line
    }
}

/// The beginning of a line that fits into so many characters.
pub fn cut(line: &str, width: Option<usize>) -> &str {
    let end = width.and_then(|width| line.char_indices().nth(width));
    end.map_or(line, |(end, _)| &line[..end])
}

/// The columns of the terminal; `None` if stdout is no terminal or does not say.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}

/// Its lines.
pub fn height() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_row.into()).filter(|rows| *rows > 0)
}

/// What is not known as a dash.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new([Column::Left("NAME"), Column::Right("N"), Column::Left("WHAT")]);
        table.add(["ä".into(), "100".into(), "two words".into()]);
        table.add(["longer".into(), or_dash(None::<u32>), String::new()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_ends_with_a_space() {
        assert_eq!(table().text(None), "NAME     N WHAT\nä      100 two words\nlonger   -\n");
    }

    #[test]
    fn a_terminal_gets_what_fits() {
        assert_eq!(table().text(Some(8)), "NAME\nä      1\nlonger\n");
        assert_eq!(cut("äöü", Some(2)), "äö");
        assert_eq!(cut("äöü", Some(3)), "äöü");
        assert_eq!(cut("äöü", None), "äöü");
    }
}
