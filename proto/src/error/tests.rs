#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn status_tells_reason_outcome_limit_and_retry() {
    let refused = Refused::new(ErrorReason::QuotaExceeded, "tenant a: too much").with_limit("writes_in_flight");
    let status = refused.to_status();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let detail = Detail::of(&status).unwrap();
    assert_eq!(detail.reason, ErrorReason::QuotaExceeded);
    assert_eq!(detail.outcome, Outcome::NotApplied);
    assert_eq!(detail.retry_after, Some(RETRY_AFTER));
    assert_eq!(detail.limit.as_deref(), Some("writes_in_flight"));
    let violation = &status.get_details_quota_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "writes_in_flight");
}

#[test]
fn nack_status_carries_the_same_detail() {
    let mut refused = Refused::new(ErrorReason::SequenceGap, "gap");
    refused.expected_seq = Some(3);
    let rpc = refused.to_rpc_status();
    assert_eq!(rpc.code, Code::FailedPrecondition as i32);
    assert_eq!(rpc.message, "gap");
    assert_eq!(Detail::of_rpc(&rpc).unwrap().reason, ErrorReason::SequenceGap);
}

#[test]
fn only_an_unknown_outcome_is_unknown() {
    assert_eq!(Refused::new(ErrorReason::OutcomeUnknown, "").outcome, Outcome::Unknown);
    assert_eq!(Refused::new(ErrorReason::ShardClosed, "").outcome, Outcome::NotApplied);
}

#[test]
fn status_without_our_detail_has_none() {
    assert_eq!(Detail::of(&Status::unavailable("connection refused")), None);
}

#[test]
fn comment_of_each_reason_in_the_proto_names_its_code() {
    let proto = include_str!("../../inkpot/v1/common.proto");
    let mut comment = String::new();
    let mut checked = 0;
    for line in proto.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment = if comment.is_empty() { text.to_owned() } else { comment };
            continue;
        }
        if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| name.starts_with("ERROR_REASON_"))
            && name != "ERROR_REASON_UNSPECIFIED"
        {
            let reason = ErrorReason::from_str_name(name).unwrap();
            let code = format!("{:?}", code(reason)).to_uppercase();
            assert_eq!(comment.split(':').next().unwrap().replace('_', ""), code, "{name}");
            checked += 1;
        }
        comment.clear();
    }
    assert!(checked > 40, "only {checked} reasons found in the proto");
}
