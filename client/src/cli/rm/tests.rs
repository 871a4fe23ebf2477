#![allow(clippy::unwrap_used)]
use super::*;
use clap::Parser;

#[derive(Debug, clap::Parser)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    Alone::try_parse_from(["rm"].iter().chain(words)).map(|alone| alone.args)
}

#[test]
fn directories_end_with_a_slash_and_prefixes_stay_as_they_are() {
    assert_eq!(parse(&["-r", "a", "b/", "c/d//"]).unwrap().prefixes().unwrap(), ["a/", "b/", "c/d/"]);
    assert_eq!(parse(&["-r", "--prefix", "a", "b/"]).unwrap().prefixes().unwrap(), ["a", "b/"]);
    assert_eq!(parse(&["-r", "--all"]).unwrap().prefixes().unwrap(), [""]);
}

#[test]
fn empty_path_is_not_everything() {
    for words in [&["-r", ""][..], &["-r", "/"], &["-r", "--prefix", ""], &["-r", "a", ""]] {
        assert!(format!("{:?}", parse(words).unwrap().prefixes().unwrap_err()).contains("--all"), "{words:?}");
    }
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    for words in [&[][..], &["--all"], &["-r", "--all", "a"], &["--prefix", "a"], &["-r", "a", "--if-generation", "1"]]
    {
        assert!(parse(words).is_err(), "{words:?}");
    }
}

#[test]
fn what_is_counted_says_where_it_stopped() {
    let counted = Counted { files: 3, bytes: 2_048, more: false };
    assert_eq!(counted.to_string(), "3 files, 2.0KiB");
    assert_eq!(Counted { more: true, ..counted }.to_string(), "more than 3 files, more than 2.0KiB");
}
