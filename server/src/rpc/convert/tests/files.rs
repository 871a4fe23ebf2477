use super::super::file::{first_byte, list, read, to_token};
use super::*;

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
fn page_token_leads_back_to_its_path() {
    let path = FilePath::parse("logs/ä b.log").unwrap();
    let request = v1::ListRequest { page_token: to_token(&path), ..v1::ListRequest::default() };
    assert_eq!(list(request).unwrap().after, Some(path));
}

#[test]
fn page_token_of_somebody_else_is_refused() {
    for bad in ["x", "zz", "616", "2e2e", "ff", "a\u{e4}"] {
        assert_eq!(of_list(|list| list.page_token = bad.to_owned()), ErrorReason::InvalidField, "{bad:?}");
    }
}
