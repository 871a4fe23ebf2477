#![allow(clippy::unwrap_used)]
use super::*;
use clap::{CommandFactory, Parser};
use inkpot_proto::v1::Durability;

#[derive(Debug, clap::Parser)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Args {
    Alone::parse_from(["append"].iter().chain(words)).args
}

#[test]
fn options_default_to_synced_waiting_and_a_producer() {
    let options = parse(&["a/b"]).options();
    assert_eq!(options.durability, Durability::Synced);
    assert_eq!(options.admission, Admission::Wait);
    assert_eq!(options.producer, Producer::Auto);
    assert_eq!(options.batch, BatchPolicy::default());
    assert_eq!((options.framing, options.timestamps), (Framing::None, false));
}

#[test]
fn template_gives_the_path_and_braces_are_letters_without_it() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_420_800);
    let path = |words: &[&str]| parse(words).path(now);
    assert_eq!(path(&["logs/{date}"]).unwrap(), "logs/{date}");
    let args = ["logs/{service}/{date}.log", "--template", "--var", "service=a=b"];
    assert_eq!(path(&args).unwrap(), "logs/a=b/2026-11-23.log");
    for args in [
        &["{service}", "--template"][..],
        &["{service}", "--template", "--var", "service=../x"],
        &["{date}", "--template", "--var", "service=web"],
        &["{date", "--template"],
    ] {
        let failure = path(args).unwrap_err();
        assert!(format!("{failure:?}").contains("Usage"), "{args:?}: {failure:?}");
    }
    assert!(Alone::command().try_get_matches_from(["append", "a", "--var", "x=y"]).is_err());
    assert!(Alone::command().try_get_matches_from(["append", "a", "--template", "--var", "x"]).is_err());
}

#[test]
fn flags_reach_the_options() {
    let args = parse(&[
        "a",
        "--producer",
        "p",
        "--epoch",
        "3",
        "--durability",
        "written",
        "--reject",
        "--batch-records",
        "7",
        "--batch-bytes",
        "1KiB",
        "--linger",
        "1ms",
        "--raw",
        "--chunk-size",
        "4KiB",
        "--framing",
        "newline-keep",
        "--timestamps",
    ]);
    let options = args.options();
    assert_eq!(options.producer, Producer::Named { id: "p".to_owned(), epoch: Some(3) });
    assert_eq!(options.durability, Durability::Written);
    assert_eq!(options.admission, Admission::Reject);
    let batch = BatchPolicy { max_records: 7, max_bytes: 1024, linger: Duration::from_millis(1) };
    assert_eq!(options.batch, batch);
    assert_eq!((options.framing, options.timestamps), (Framing::NewlineKeep, true));
    assert_eq!(args.cut(), Cut::Chunks(4096));
}

#[test]
fn epoch_without_producer_and_chunk_size_without_raw_are_refused() {
    for words in [&["append", "a", "--epoch", "1"][..], &["append", "a", "--chunk-size", "1"]] {
        assert!(Alone::command().try_get_matches_from(words).is_err(), "{words:?}");
    }
}

#[test]
fn summary_says_what_is_in_doubt() {
    let summary = Summary {
        path: "a".to_owned(),
        complete: false,
        records_sent: 5,
        records: 3,
        bytes: 30,
        records_not_written: 0,
        records_unknown: 2,
        first_offset: Some(10),
        end_offset: Some(40),
        level: Some("SYNCED"),
        duplicates: 1,
        reconnects: 2,
    };
    assert_eq!(
        summary.to_string(),
        "a: 3 records, 30 bytes acknowledged at [10, 40), SYNCED; duplicates 1, reconnects 2; 2 records more were \
         sent, not known whether they are in the file"
    );
}
