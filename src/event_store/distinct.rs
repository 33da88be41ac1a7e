//! Values that rows of a batch have in common, sent and judged once each.

use std::collections::HashMap;
use std::hash::Hash;

/// Returns the distinct values of `rows`, and for each row the number of its value, counted from 1 as PostgreSQL counts the
/// elements of an array.
pub(super) fn distinct<T: Copy + Eq + Hash>(rows: impl Iterator<Item = T>) -> (Vec<T>, Vec<i32>) {
    let mut values = Vec::new();
    let mut numbers = HashMap::new();
    let mut next = 1;
    let number_of = |value| {
        *numbers.entry(value).or_insert_with(|| {
            values.push(value);
            next += 1;
            next - 1
        })
    };
    let numbers_of_rows = rows.map(number_of).collect();
    (values, numbers_of_rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_number_of_its_value() {
        assert_eq!(distinct("abacb".chars()), (vec!['a', 'b', 'c'], vec![1, 2, 1, 3, 2]));
    }
}
