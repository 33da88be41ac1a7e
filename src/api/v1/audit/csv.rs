//! Writing CSV (RFC 4180) that is harmless to open in a spreadsheet.

/// Characters at the start of a cell that spreadsheets take for a formula.
const FORMULA_STARTS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// Adds a line with these cells to `csv`. A cell that a spreadsheet would take for a formula gets an apostrophe before it.
pub(super) fn push_line<'a>(csv: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (number, cell) in cells.into_iter().enumerate() {
        if number > 0 {
            csv.push(',');
        }
        push_cell(csv, cell);
    }
    csv.push_str("\r\n");
}

fn push_cell(csv: &mut String, cell: &str) {
    let is_formula = cell.starts_with(FORMULA_STARTS);
    let is_quoted = is_formula || cell.contains(['"', ',', '\r', '\n']) || cell != cell.trim();
    if is_quoted {
        csv.push('"');
    }
    if is_formula {
        csv.push('\'');
    }
    for part in cell.split_inclusive('"') {
        csv.push_str(part);
        if part.ends_with('"') {
            csv.push('"');
        }
    }
    if is_quoted {
        csv.push('"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads lines of CSV as RFC 4180 says.
    fn read(csv: &str) -> Vec<Vec<String>> {
        let (mut lines, mut cells, mut cell, mut quoted) = (vec![], vec![], String::new(), false);
        let mut rest = csv.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '"' if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                '\r' if !quoted => {
                    assert_eq!(rest.next(), Some('\n'));
                    cells.push(std::mem::take(&mut cell));
                    lines.push(std::mem::take(&mut cells));
                }
                _ => cell.push(character),
            }
        }
        assert!(!quoted && cell.is_empty() && cells.is_empty());
        lines
    }

    fn line(cell: &str) -> String {
        let mut csv = String::new();
        push_line(&mut csv, [cell]);
        csv
    }

    #[test]
    fn cells_that_would_be_formulas_are_harmless() {
        assert_eq!(line("=1+1"), "\"'=1+1\"\r\n");
        assert_eq!(line("@SUM(A1)"), "\"'@SUM(A1)\"\r\n");
        assert_eq!(line("\tx"), "\"'\tx\"\r\n");
        assert_eq!(line("=\"a\",b"), "\"'=\"\"a\"\",b\"\r\n");
        assert_eq!(line("plain"), "plain\r\n");
        assert_eq!(line(""), "\r\n");
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(cells in prop::collection::vec("[ -~\t\r\nä]{0,6}|[=+@-].*", 1..5)) {
            let mut csv = String::new();
            push_line(&mut csv, cells.iter().map(String::as_str));
            push_line(&mut csv, cells.iter().map(String::as_str));
            let lines = read(&csv);
            prop_assert_eq!(lines.len(), 2);
            for (given, read) in cells.iter().zip(&lines[1]) {
                prop_assert!(!read.starts_with(FORMULA_STARTS));
                let without_mark = match given.starts_with(FORMULA_STARTS) {
                    true => &read[1..],
                    false => read,
                };
                prop_assert_eq!(given, without_mark);
            }
        }
    }
}
