//! Plain tables: columns as wide as what stands in them, as a terminal counts width.

use console::measure_text_width;

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table whose cells are fit for a terminal already.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// Begins a table: names of columns, and where their text stands.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), indent: 0 }
    }

    /// Moves it to the right.
    pub(super) fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Adds a row; cells that are missing are empty.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// Gives the lines, the names of the columns first. Nothing where there is no row. A column without any text is left
    /// out.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let used: Vec<usize> =
            (0..self.columns.len()).filter(|at| self.rows.iter().any(|row| !row[*at].is_empty())).collect();
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| self.rows.iter().chain([&head]).map(|row| measure_text_width(&row[at])).max().unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = used.iter().map(|at| {
                let gap = " ".repeat(widths[*at].saturating_sub(measure_text_width(&row[*at])));
                match self.columns[*at].1 {
                    Align::Left => format!("{}{gap}", row[*at]),
                    Align::Right => format!("{gap}{}", row[*at]),
                }
            });
            let text = cells.collect::<Vec<_>>().join("  ");
            format!("{:indent$}{}", "", text.trim_end(), indent = self.indent)
        };
        std::iter::once(&head).chain(&self.rows).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_display_width() {
        let mut table = Table::new(&[("FOLDER", Align::Left), ("MESSAGES", Align::Right), ("NOTE", Align::Left)]);
        table.row(["INBOX".to_owned(), "12,345".to_owned()]);
        table.row(["受信箱".to_owned(), "7".to_owned()]);
        table.row(["Entwürfe".to_owned(), "0".to_owned()]);
        insta::assert_snapshot!(table.indented(2).lines().join("\n"), @r"
          FOLDER    MESSAGES
          INBOX       12,345
          受信箱           7
          Entwürfe         0
        ");
    }
}
