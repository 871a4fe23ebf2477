use super::super::file::{first_byte, list, read, to_token};
use super::*;
use crate::shard::listing::Entry;

fn of_list(change: impl FnOnce(&mut v1::ListRequest)) -> ErrorReason {
    let mut request = v1::ListRequest::default();
    change(&mut request);
    list(request).unwrap_err().reason
}

#[test]
fn read_without_limit_has_none() {
    let request = read(&v1::ReadRequest { path: "a".into(), ..v1::ReadRequest::default() }).unwrap();
    assert_eq!((request.offset, request.limit, request.follow), (0, u64::MAX, false));
    assert_eq!(read(&v1::ReadRequest::default()).unwrap_err().reason, ErrorReason::InvalidPath);
}

#[test]
fn first_byte_counts_from_either_end() {
    assert_eq!(first_byte(0, 0), Ok(0));
    assert_eq!(first_byte(10, 10), Ok(10));
    assert_eq!(first_byte(-3, 10), Ok(7));
    assert_eq!(first_byte(-11, 10), Ok(0));
    assert_eq!(first_byte(i64::MIN, 10), Ok(0));
    let beyond = first_byte(11, 10).unwrap_err();
    assert_eq!((beyond.reason, beyond.expected_offset), (ErrorReason::OutOfRange, Some(10)));
}

#[test]
fn list_has_bounds() {
    assert_eq!(list(v1::ListRequest::default()).unwrap().page_size, 1000);
    assert_eq!(of_list(|list| list.page_size = 10_001), ErrorReason::InvalidField);
    assert_eq!(of_list(|list| list.prefix = "x".repeat(1025)), ErrorReason::InvalidField);
    assert_eq!(of_list(|list| list.prefix = "a\tb".into()), ErrorReason::InvalidField);
}

#[test]
fn delimiter_is_one_character() {
    let delimiter = |text: &str| list(v1::ListRequest { delimiter: text.into(), ..v1::ListRequest::default() });
    for (text, expected) in [("", None), ("/", Some('/')), ("-", Some('-')), ("\u{e4}", Some('\u{e4}'))] {
        assert_eq!(delimiter(text).unwrap().delimiter, expected);
    }
    for bad in ["//", "ab", "\n", "\u{10ffff}"] {
        assert_eq!(of_list(|list| list.delimiter = bad.to_owned()), ErrorReason::InvalidField, "{bad:?}");
    }
}

fn after(token: String) -> Result<String, Refused> {
    Ok(list(v1::ListRequest { page_token: token, ..v1::ListRequest::default() })?.from)
}

#[test]
fn page_goes_on_behind_what_its_token_names() {
    let view = crate::shard::testing::view("logs/\u{e4} b.log", 1, crate::apply::view::ViewState::default());
    assert_eq!(after(to_token(&Entry::File(view.summary()))).unwrap(), "logs/\u{e4} b.log\0");
    assert_eq!(after(to_token(&Entry::Prefix("logs/".into()))).unwrap(), "logs0", "behind everything below it");
    assert_eq!(after(String::new()).unwrap(), "");
}

#[test]
fn page_token_of_somebody_else_is_refused() {
    let long = format!("p{}", "61".repeat(1025));
    for bad in ["x", "zz", "6161", "f616", "f2e2e", "fff", "p", "pff", "pf48fbfbf", "f\u{e4}", &long] {
        assert_eq!(after(bad.to_owned()).unwrap_err().reason, ErrorReason::InvalidField, "{bad:?}");
    }
}
