#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn lines_put_together_are_the_text() {
    let text = Text::of_stream(&b"one\n\ntwo"[..]).unwrap();
    assert_eq!(text.lines, [&b"one\n"[..], b"\n", b"two"]);
}

#[test]
fn directory_without_sources_gives_those_of_the_tool() {
    let empty = tempfile::tempdir().unwrap();
    let text = Text::of_sources(empty.path());
    assert_eq!(text.lines.concat(), OWN_SOURCES.concat().as_bytes());
}

#[test]
fn sources_are_taken_in_order_and_build_output_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in
        [("b.rs", "b\n"), ("a/z.md", "z\n"), ("target/x.rs", "x\n"), (".git/y.md", "y\n"), ("c.txt", "c\n")]
    {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let text = Text::of_sources(root.path());
    assert_eq!(text.lines, [&b"z\n"[..], b"b\n"]);
    assert!(text.origin.starts_with("2 source files"), "{}", text.origin);
}

#[test]
fn short_text_is_repeated_as_a_whole() {
    let mut text = Text::of_stream(&b"a\nb\nc\n"[..]).unwrap();
    assert_eq!(text.repeat_to(7), 3);
    assert_eq!(text.lines.concat(), b"a\nb\nc\na\nb\nc\na\nb\nc\n");
    assert_eq!(text.repeat_to(1), 1);
    assert_eq!(text.lines.len(), 9);
}
