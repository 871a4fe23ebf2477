//! One table from reasons to gRPC codes, and the one place where a refusal becomes a `Status` with its details.

use crate::v1::{ErrorReason, Outcome};
use prost::Message;
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, RpcStatusExt, StatusExt};

/// `domain` of every ErrorInfo of ours.
pub const DOMAIN: &str = "inkpot.v1";
/// When to try again after a refusal that passes by itself.
pub const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The gRPC code of a reason.
#[must_use]
pub fn code(reason: ErrorReason) -> Code {
    use ErrorReason as R;
    match reason {
        R::InvalidPath
        | R::InvalidField
        | R::UnknownEnumValue
        | R::UnknownChannel
        | R::ChannelInUse
        | R::LengthMismatch
        | R::ChecksumMismatch
        | R::EmptyAppend
        | R::RecordTooLarge
        | R::MalformedMessage
        | R::FramingViolated
        | R::SizeMismatch => Code::InvalidArgument,
        R::SequenceGap
        | R::SequenceReused
        | R::ProducerFenced
        | R::UnknownProducer
        | R::DurabilityUnavailable
        | R::ForeignChange
        | R::NotADirectory
        | R::IsADirectory
        | R::NotAPlainFile
        | R::Sealed
        | R::GenerationChanged
        | R::UploadOpen
        | R::UploadFinished
        | R::DirectoryNotEmpty => Code::FailedPrecondition,
        R::MessageTooLarge
        | R::TooManyProducers
        | R::QuotaExceeded
        | R::NodeMemory
        | R::DiskFull
        | R::TooManyChannels => Code::ResourceExhausted,
        R::OffsetMismatch | R::EarlierSeqRefused => Code::Aborted,
        R::OutOfRange => Code::OutOfRange,
        R::Symlink => Code::PermissionDenied,
        R::FileNotFound | R::UploadNotFound => Code::NotFound,
        R::FileExists => Code::AlreadyExists,
        R::ShardClosed | R::Draining | R::BeingDecided => Code::Unavailable,
        R::OutcomeUnknown | R::Unspecified => Code::Unknown,
        R::Damaged => Code::DataLoss,
        R::Unauthenticated => Code::Unauthenticated,
        R::Deadline => Code::DeadlineExceeded,
        R::Unimplemented => Code::Unimplemented,
        R::Internal => Code::Internal,
    }
}

/// Whether sending the refused write again, as it was, can succeed without anything else being changed first.
#[must_use]
pub fn passes_by_itself(reason: ErrorReason) -> bool {
    matches!(code(reason), Code::ResourceExhausted | Code::Unavailable)
        && !matches!(reason, ErrorReason::MessageTooLarge)
        || reason == ErrorReason::OutcomeUnknown
}

/// A request that was not carried out: why, what became of it, and what to do next. The only way to a `Status`.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Why.
    pub reason: ErrorReason,
    /// In English; names the file, tenant or limit, and the remedy.
    pub message: String,
    /// What became of the write.
    pub outcome: Outcome,
    /// The seq that would be taken.
    pub expected_seq: Option<u64>,
    /// The end of the file in bytes.
    pub expected_offset: Option<u64>,
    /// The producer epoch that holds.
    pub current_epoch: Option<u64>,
    /// Name of the limit that was hit, as in the configuration.
    pub limit: Option<String>,
}

impl Refused {
    /// A refusal that applied nothing (unless the reason itself says that this is not known).
    #[must_use]
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        let outcome = if reason == ErrorReason::OutcomeUnknown { Outcome::Unknown } else { Outcome::NotApplied };
        let message = message.into();
        Self { reason, message, outcome, expected_seq: None, expected_offset: None, current_epoch: None, limit: None }
    }

    /// Names the limit that was hit.
    #[must_use]
    pub fn with_limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        code(self.reason)
    }

    /// As the end of a call.
    #[must_use]
    pub fn to_status(&self) -> Status {
        Status::with_error_details(self.code(), &self.message, self.details())
    }

    /// As data in a `Nack`.
    #[must_use]
    pub fn to_rpc_status(&self) -> tonic_types::Status {
        tonic_types::Status::decode(self.to_status().details()).unwrap_or_default()
    }

    fn details(&self) -> ErrorDetails {
        let mut metadata = HashMap::from([("outcome".to_owned(), outcome_name(self.outcome).to_owned())]);
        let numbers = [
            ("expected_seq", self.expected_seq),
            ("expected_offset", self.expected_offset),
            ("current_epoch", self.current_epoch),
        ];
        metadata.extend(numbers.iter().filter_map(|(key, n)| n.map(|n| ((*key).to_owned(), n.to_string()))));
        metadata.extend(self.limit.iter().map(|limit| ("limit".to_owned(), limit.clone())));
        let mut details = ErrorDetails::with_error_info(reason_name(self.reason), DOMAIN, metadata);
        if let Some(limit) = &self.limit {
            details.add_quota_failure_violation(limit, &self.message);
        }
        if passes_by_itself(self.reason) {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        if self.code() == Code::InvalidArgument {
            details.add_bad_request_violation("request", &self.message);
        }
        details
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refused.to_status()
    }
}

/// What a `Status` says in the terms of Inkpot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Why.
    pub reason: ErrorReason,
    /// What became of the write.
    pub outcome: Outcome,
    /// When to try again, if it passes by itself.
    pub retry_after: Option<Duration>,
    /// The limit that was hit.
    pub limit: Option<String>,
}

impl Detail {
    /// Reads our detail; `None` for an error that does not come from an Inkpot server, whose outcome is unknown.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        Self::from_details(&status.get_error_details())
    }

    /// As [`Detail::of`], from a status that came as data.
    #[must_use]
    pub fn of_rpc(status: &tonic_types::Status) -> Option<Self> {
        Self::from_details(&status.get_error_details())
    }

    fn from_details(details: &ErrorDetails) -> Option<Self> {
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let reason = ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)).unwrap_or_default();
        let not_applied = info.metadata.get("outcome").is_some_and(|o| o == outcome_name(Outcome::NotApplied));
        let outcome = if not_applied { Outcome::NotApplied } else { Outcome::Unknown };
        let retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        Some(Self { reason, outcome, retry_after, limit: info.metadata.get("limit").cloned() })
    }
}

/// The reason as it stands in ErrorInfo.
#[must_use]
pub fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

fn outcome_name(outcome: Outcome) -> &'static str {
    outcome.as_str_name().trim_start_matches("OUTCOME_")
}

#[cfg(test)]
mod tests;
