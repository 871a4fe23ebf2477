use super::{End, LONGEST_BACKOFF, SHORTEST_BACKOFF, backoff, judge};
use crate::{Error, ErrorReason};
use inkpot_proto::error::Refused;
use tonic::Status;

#[test]
fn backoff_grows_to_its_bound_and_never_overflows() {
    for (failures, longest) in [(0, SHORTEST_BACKOFF), (1, SHORTEST_BACKOFF * 2), (6, LONGEST_BACKOFF)] {
        let pause = backoff(failures);
        assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause:?}");
    }
    assert!(backoff(u32::MAX) <= LONGEST_BACKOFF);
}

#[test]
fn only_what_another_connection_cannot_change_ends_a_session() {
    let ours = |reason| Error::from_status(&Refused::new(reason, "words").to_status());
    for error in [
        Error::from_status(&Status::unauthenticated("from a proxy")),
        ours(ErrorReason::Unauthenticated),
        ours(ErrorReason::MessageTooLarge),
        ours(ErrorReason::MalformedMessage),
    ] {
        assert!(matches!(judge(error.clone()), End::Refused(_)), "{error:?}");
    }
    for error in [
        Error::from_status(&Status::unavailable("")),
        Error::from_status(&Status::internal("h2")),
        Error::from_status(&Status::invalid_argument("from a proxy")),
        ours(ErrorReason::Draining),
        ours(ErrorReason::Deadline),
        ours(ErrorReason::Internal),
    ] {
        assert!(matches!(judge(error.clone()), End::Lost(_)), "{error:?}");
    }
}
