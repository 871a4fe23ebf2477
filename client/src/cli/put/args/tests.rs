#![allow(clippy::unwrap_used)]
use super::*;
use clap::Parser;

#[derive(Debug, clap::Parser)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    Alone::try_parse_from(["put"].iter().chain(words)).map(|alone| alone.args)
}

#[test]
fn path_that_ends_with_a_slash_gets_the_name_of_the_local_file() {
    assert_eq!(parse(&["/tmp/x/a.bin", "to/"]).unwrap().path(), "to/a.bin");
    assert_eq!(parse(&["/tmp/x/a.bin", "to"]).unwrap().path(), "to");
    assert_eq!(parse(&["-", "to"]).unwrap().path(), "to");
    // Stdin has no name: the server refuses the path as it is.
    assert_eq!(parse(&["-", "to/"]).unwrap().path(), "to/");
}

#[test]
fn checksum_is_that_of_what_was_read_unless_it_is_given() {
    let args = parse(&["a", "b"]).unwrap();
    assert_eq!(args.checksum.of_size(7), inkpot_client::Expected { size: Some(7), crc32c: None });
    let args = parse(&["a", "b", "--checksum", "e3069283"]).unwrap();
    assert_eq!(args.checksum.of_size(7), inkpot_client::Expected { size: Some(7), crc32c: Some(0xe306_9283) });
    assert!(args.checksum.check("b", Some(0xe306_9283)).is_ok());
    assert!(format!("{:?}", args.checksum.check("b", Some(1)).unwrap_err()).contains("00000001 and not e3069283"));
    assert!(parse(&["a", "b", "--checksum", "md5"]).is_err());
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    for words in [
        &["a"][..],
        &["a", "b", "--if-absent", "--if-generation", "1"],
        &["a", "b", "--abort", "--restart"],
        &["a", "b", "--abort", "--leave-open"],
        &["a", "b", "--chunk-size", "0"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    assert!(parse(&["a", "b", "--no-resume"]).unwrap().restart);
}

#[test]
fn what_is_read_once_has_no_name_but_a_given_one() {
    let args = parse(&["/dev/null", "b"]).unwrap();
    let source = args.source().unwrap();
    assert_eq!(source, Source::Stream(PathBuf::from("/dev/null")));
    assert_eq!(parse(&["-", "b"]).unwrap().source().unwrap(), Source::Stdin);
}
