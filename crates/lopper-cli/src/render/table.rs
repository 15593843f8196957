//! A table of plain text: columns as wide as their widest cell, two spaces apart, a rule under the header.

use std::fmt;

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A table; every row has as many cells as the header.
pub struct Table {
    header: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

/// What stands before every line.
const INDENT: &str = "  ";
/// What stands between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = (S, Align)>) -> Self {
        let (header, align) = header.into_iter().map(|(title, align)| (title.into(), align)).unzip();
        Self { header, align, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| &row[column]).chain([&self.header[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.header.len()).map(width).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = cells.iter().zip(widths).zip(&self.align).map(|((cell, &width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let line = padded.collect::<Vec<_>>().join(GAP);
        format!("{INDENT}{}\n", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let whole = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        f.write_str(&self.line(&self.header, &widths))?;
        writeln!(f, "{INDENT}{}", "─".repeat(whole))?;
        self.rows.iter().try_for_each(|row| f.write_str(&self.line(row, &widths)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Align, Table};

    #[test]
    fn columns_line_up_and_no_line_ends_in_a_space() {
        let mut table = Table::new([("model", Align::Left), ("perplexity", Align::Right), ("vs dense", Align::Right)]);
        table.row(["dense".into(), "5.681".into()]);
        table.row(["reconstructed".into(), "6.012".into(), "×1.06".into()]);
        let expected = [
            "  model          perplexity  vs dense",
            "  ───────────────────────────────────",
            "  dense               5.681",
            "  reconstructed       6.012     ×1.06",
            "",
        ];
        assert_eq!(table.to_string(), expected.join("\n"));
    }
}
