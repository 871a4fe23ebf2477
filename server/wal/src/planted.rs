//! Deliberate bugs: the proof that the tests would find them. Each is the mistake that one of the rules of the storage
//! protocol is there against. The feature `planted` compiles them in, for one test build only; `INKPOT_PLANTED` names the
//! one that is to be made. `tests/run planted` makes each in turn, and fails if a bug is not caught.

#[cfg(all(feature = "planted", not(debug_assertions), not(test)))]
compile_error!("the feature `planted` has deliberate bugs: it is for test builds only");

/// A mistake that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A sync of the log that is none.
    AckBeforeSync,
    /// The catalog forgets how far producers have come.
    DedupeNotPersisted,
    /// Plain files get bytes that the log has not synced.
    ApplyPastSynced,
    /// Replay brings bytes to what is at the path now, not to the file that they were for.
    PathsForIds,
    /// Recovery takes frames for durable that only the page cache may have.
    UnprovenServed,
    /// Recovery takes frames of an old epoch from behind its end.
    SealForgotten,
    /// The catalog moves its mark before plain files are synced.
    CheckpointBeforeSync,
    /// A frame counts whose payload does not have its checksum.
    TornTailAccepted,
    /// The catalog moves its mark before names are synced.
    LostRename,
    /// An append that was refused is carried out.
    RefusedApplied,
    /// A frame says that itself is durable.
    WrongDurableThrough,
    /// The permit of a refused append does not come back.
    PermitLeaked,
    /// A channel that lost its producer goes on.
    FenceIgnored,
    /// The bytes of an upload are not synced if its abort comes at once.
    AbortUnsynced,
    /// A file is cut to the beginning of what was at its path before.
    CutOfAnother,
    /// A leftover that was removed may come back with the next loss of power.
    LeftoverUnsynced,
}

#[cfg(feature = "planted")]
impl Bug {
    /// Each of them, with its name.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::AckBeforeSync, "ack-before-sync"),
        (Self::DedupeNotPersisted, "dedupe-not-persisted"),
        (Self::ApplyPastSynced, "apply-past-synced"),
        (Self::PathsForIds, "paths-for-ids"),
        (Self::UnprovenServed, "unproven-served"),
        (Self::SealForgotten, "seal-forgotten"),
        (Self::CheckpointBeforeSync, "checkpoint-before-sync"),
        (Self::TornTailAccepted, "torn-tail-accepted"),
        (Self::LostRename, "lost-rename"),
        (Self::RefusedApplied, "refused-applied"),
        (Self::WrongDurableThrough, "wrong-durable-through"),
        (Self::PermitLeaked, "permit-leaked"),
        (Self::FenceIgnored, "fence-ignored"),
        (Self::AbortUnsynced, "abort-unsynced"),
        (Self::CutOfAnother, "cut-of-another"),
        (Self::LeftoverUnsynced, "leftover-unsynced"),
    ];
}

/// Whether that mistake is to be made: never, but in the one test build.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

/// Whether that mistake is to be made.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    static WANTED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let name = std::env::var("INKPOT_PLANTED").ok()?;
        let known = Bug::ALL.iter().find(|(_, known)| *known == name);
        Some(known.unwrap_or_else(|| panic!("INKPOT_PLANTED names no bug: {name}")).0)
    });
    *wanted == Some(bug)
}
