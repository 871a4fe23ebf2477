use super::*;

fn to(from: &str, to: &str) -> String {
    Args { from: from.to_owned(), to: to.to_owned(), replace: false, if_generation: None }.to()
}

#[test]
fn new_path_that_ends_with_a_slash_keeps_the_name() {
    assert_eq!(to("logs/app", "archive/"), "archive/app");
    assert_eq!(to("app", "a/b/"), "a/b/app");
    assert_eq!(to("logs/app", "archive"), "archive");
}
