#![allow(clippy::unwrap_used)]
use super::*;
use clap::Parser;

#[derive(Debug, clap::Parser)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    Alone::try_parse_from(["get"].iter().chain(words)).map(|alone| alone.args)
}

#[test]
fn local_file_has_the_name_of_the_file_unless_it_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    assert_eq!(parse(&["a/b.txt"]).unwrap().local().unwrap(), Path::new("b.txt"));
    assert_eq!(parse(&["a/b.txt", "c"]).unwrap().local().unwrap(), Path::new("c"));
    assert_eq!(parse(&["a/b.txt", dir]).unwrap().local().unwrap(), folder.path().join("b.txt"));
    assert_eq!(parse(&["a/b.txt", "-"]).unwrap().local(), None);
}

#[test]
fn range_may_begin_with_a_hyphen_and_goes_without_resume() {
    assert_eq!(parse(&["a", "--range", "-100"]).unwrap().range, Some(Range::Last(100)));
    assert!(parse(&["a", "--range", "9-1"]).is_err());
    assert!(parse(&["a", "--range", "0-1", "--resume"]).is_err());
}

#[test]
fn summary_says_whether_it_is_verified() {
    let summary = |crc32c: Option<&str>, resumed_at| Summary {
        path: "a/b",
        local: Path::new("b"),
        size: 9,
        crc32c: crc32c.map(str::to_owned),
        verified: crc32c.is_some(),
        generation: 3,
        resumed_at,
        seconds: 0.5,
    };
    let verified = summary(Some("e3069283"), 4).to_string();
    let expected = "a/b -> b: 9 bytes, verified by crc32c e3069283, generation 3, 0.5 s; 4 bytes were there from an \
                    earlier run";
    assert_eq!(verified, expected);
    assert_eq!(summary(None, 0).to_string(), "a/b -> b: 9 bytes, not verified, generation 3, 0.5 s");
}
