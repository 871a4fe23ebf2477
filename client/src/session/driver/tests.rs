use super::{End, judge};
use crate::{Error, ErrorReason};
use inkpot_proto::error::Refused;
use tonic::Status;

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
