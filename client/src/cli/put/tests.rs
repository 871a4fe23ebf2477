#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn summary(ended: Ended, resumed_at: u64) -> Summary {
    Summary { path: "a".to_owned(), ended, resumed_at, seconds: 1.25 }
}

#[test]
fn summary_of_what_was_published() {
    let ended = || Ended::Published { size: 9, crc32c: "e3069283".to_owned(), generation: 3 };
    let expected = "a: 9 bytes published, crc32c e3069283, generation 3, 1.2 s";
    assert_eq!(summary(ended(), 0).to_string(), expected);
    assert_eq!(summary(ended(), 4).to_string(), format!("{expected}; 4 bytes were there from an earlier run"));
    let json = serde_json::to_value(summary(ended(), 4)).unwrap();
    let expected = json!({
        "path": "a", "size": 9, "crc32c": "e3069283", "generation": 3, "resumed_at": 4, "seconds": 1.25,
    });
    assert_eq!(json, expected);
}

#[test]
fn summary_of_what_was_left_open_has_what_a_set_asks_for() {
    let part = UploadPart {
        path: "a".to_owned(),
        producer_id: "p".to_owned(),
        producer_epoch: 2,
        size: Some(9),
        crc32c: Some(0xe306_9283),
    };
    let left = summary(Ended::left(part), 0);
    assert_eq!(left.to_string(), "a: left open, producer p, epoch 2, 1.2 s");
    let expected = json!({
        "path": "a", "size": 9, "crc32c": "e3069283", "producer_id": "p", "producer_epoch": 2, "resumed_at": 0,
        "seconds": 1.25,
    });
    assert_eq!(serde_json::to_value(left).unwrap(), expected);
}
