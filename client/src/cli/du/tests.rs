#![allow(clippy::unwrap_used)]
use super::*;

/// Path, depth, size and files of each sum, in the order in which they come.
fn sums(prefix: &str, files: &[(&str, u64)]) -> Vec<(String, usize, u64, u64)> {
    let mut sums = Sums::new(prefix);
    let mut all: Vec<Sum> = files.iter().flat_map(|(path, size)| sums.add(path, *size, size / 2)).collect();
    all.extend(sums.finish());
    assert!(all.iter().all(|sum| sum.stored_size == sum.size / 2), "the files have even sizes: {all:?}");
    all.into_iter().map(|sum| (sum.path, sum.depth, sum.size, sum.files)).collect()
}

fn row(path: &str, depth: usize, size: u64, files: u64) -> (String, usize, u64, u64) {
    (path.to_owned(), depth, size, files)
}

#[test]
fn directories_come_from_the_inside_out_and_all_of_it_last() {
    let files = [("a", 2), ("b/c/d", 4), ("b/c/e", 6), ("b/f", 8), ("g/h/i/j", 10)];
    let expected = [
        row("b/c/", 2, 10, 2),
        row("b/", 1, 18, 3),
        row("g/h/i/", 3, 10, 1),
        row("g/h/", 2, 10, 1),
        row("g/", 1, 10, 1),
        row("", 0, 30, 5),
    ];
    assert_eq!(sums("", &files), expected);
}

#[test]
fn names_that_sort_around_the_slash_do_not_part_a_directory() {
    // `-` and `.` sort before `/`, `0` after it.
    let files = [("a-b/x", 2), ("a.b", 2), ("a/x", 4), ("a/y-z/x", 2), ("a/y/x", 6), ("a0", 2)];
    let found = sums("", &files);
    assert_eq!(found.iter().filter(|sum| sum.0 == "a/").count(), 1);
    assert!(found.contains(&row("a/", 1, 12, 3)), "{found:?}");
    assert_eq!(found.last().unwrap(), &row("", 0, 18, 6));
}

#[test]
fn prefix_may_end_within_a_name() {
    let files = [("logs/app", 2), ("logs/app/x", 4), ("logs/apps/x", 6)];
    let expected = [row("logs/app/", 1, 4, 1), row("logs/apps/", 1, 6, 1), row("logs/app", 0, 12, 3)];
    assert_eq!(sums("logs/app", &files), expected);
    assert_eq!(sums("logs/", &[("logs/a", 2), ("logs/b/c", 4)]), [row("logs/b/", 1, 4, 1), row("logs/", 0, 6, 2)]);
}

#[test]
fn nothing_gives_one_sum_of_nothing() {
    assert_eq!(sums("x", &[]), [row("x", 0, 0, 0)]);
}

#[test]
fn rows_have_bytes_or_units() {
    let sum = Sum { path: "a/".to_owned(), depth: 1, size: 1_536, stored_size: 100, files: 3 };
    assert_eq!(Row::new(&sum, false).to_string(), "          1536            100          3  a/");
    assert_eq!(Row::new(&sum, true).to_string(), "        1.5KiB           100B          3  a/");
    let json = serde_json::to_value(Row::new(&sum, true)).unwrap();
    assert_eq!(json, serde_json::json!({ "path": "a/", "size": 1536, "stored_size": 100, "files": 3 }));
}
