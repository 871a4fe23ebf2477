//! `inkpot put`: a local file, or stdin, becomes a file that appears as a whole. What was sent of a local file stays on the
//! server when the tool ends early, and the same command finds it again.

mod args;

pub(crate) use args::Args;

use super::{
    checksum,
    failure::{Exit, Failure},
    global::GlobalArgs,
    interrupt::Interrupts,
    output,
    send::Rest,
    target::Target,
};
use args::Source;
use indicatif::ProgressBar;
use inkpot_client::{Client, ErrorReason, Producer, Published, Upload, UploadMode, UploadOptions, UploadPart};
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, Instant},
};
use tokio::time::timeout;

const UNSENT: &str = "interrupted; nothing was sent";

/// How long discarding what nobody can go on with may take after an interrupt.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);

/// Runs `inkpot put`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let (interrupts, started) = (Interrupts::watch()?, Instant::now());
    let target = global.target()?;
    let put = interrupts.or(UNSENT, Put::new(&target, args)).await?;
    if put.args.abort {
        return interrupts.or("interrupted", put.abort()).await;
    }
    let mut upload = interrupts.or(UNSENT, put.begin()).await?;
    let resumed_at = upload.resumed_at();
    let bar = output::transfer(put.size());
    let sent = interrupts.or("interrupted", put.send(&mut upload, &bar)).await;
    bar.finish_and_clear();
    if let Err(failure) = sent {
        return Err(put.left(upload, failure, &interrupts).await);
    }
    let in_doubt = format!("{}: interrupted while it was published; the same command settles it", put.path);
    let ended = interrupts.or(in_doubt, put.end(upload)).await?;
    let seconds = started.elapsed().as_secs_f64();
    let summary = Summary { path: put.path, resumed_at, seconds, ended };
    interrupts.or("interrupted; it is published", output::answer(global.format, &summary)).await?;
    Ok(Exit::Done)
}

/// A run.
struct Put {
    args: Args,
    source: Source,
    path: String,
    /// `None`: nobody could go on with the upload.
    producer: Option<String>,
    client: Client,
}

impl Put {
    async fn new(target: &Target, args: Args) -> Result<Self, Failure> {
        let source = args.source()?;
        let (path, producer) = (args.path(), args.producer(&source, target));
        if producer.is_none() && (args.leave_open || args.abort) {
            let words = "an upload of what is read once has no name by which it is found again: give --producer ID";
            return Err(Failure::new(Exit::Usage, words));
        }
        let client = target.connect(target.builder()?.give_up_after(args.give_up_after)).await?;
        Ok(Self { args, source, path, producer, client })
    }

    /// Whether a later run can go on with what this one leaves.
    fn is_resumable(&self) -> bool {
        self.producer.is_some() && self.size().is_some()
    }

    /// Bytes that there are to be sent, if that is known.
    fn size(&self) -> Option<u64> {
        match &self.source {
            Source::File(local) => Some(local.size),
            Source::Stdin | Source::Stream(_) => None,
        }
    }

    fn options(&self) -> UploadOptions {
        let producer = match &self.producer {
            // Each run has an epoch of its own, which fences one that still runs.
            Some(id) => Producer::Named { id: id.clone(), epoch: None },
            None => Producer::Auto,
        };
        UploadOptions {
            mode: if self.args.if_absent { UploadMode::Create } else { UploadMode::Replace },
            producer,
            if_generation: self.args.if_generation,
            chunk_bytes: self.args.chunk_size as u64,
            ..UploadOptions::default()
        }
    }

    async fn open(&self) -> Result<Upload, Failure> {
        let opened = self.client.upload(&self.path, self.options()).await;
        opened.map_err(|error| Failure::writing(&self.path, &error))
    }

    /// The upload, as far as it is there; from its beginning where that is asked for, or there is nothing to go on with.
    async fn begin(&self) -> Result<Upload, Failure> {
        let upload = self.open().await?;
        if upload.resumed_at() == 0 || self.is_resumable() && !self.args.restart {
            return Ok(upload);
        }
        upload.abort().await.map_err(|error| Failure::writing(&self.path, &error))?;
        self.open().await
    }

    async fn send(&self, upload: &mut Upload, bar: &ProgressBar) -> Result<(), Failure> {
        let at = upload.resumed_at();
        if at > 0 {
            bar.suspend(|| output::say(format_args!("inkpot: {}: going on at byte {at}", self.path)));
        }
        let rest = match &self.source {
            Source::Stdin => Rest::stdin(upload)?,
            Source::Stream(path) => Rest::stream(path, upload)?,
            Source::File(local) => Rest::of(local, upload).await?,
        };
        rest.pour(upload, |acked| bar.set_position(acked)).await
    }

    async fn end(&self, upload: Upload) -> Result<Ended, Failure> {
        let size = upload.offset();
        let failed = |error| {
            let failure = Failure::writing(&self.path, &error);
            match error.reason() {
                Some(ErrorReason::ChecksumMismatch | ErrorReason::SizeMismatch) => {
                    failure.with_advice("; nothing was published: --restart sends it anew, --abort discards it")
                }
                _ => failure,
            }
        };
        let expected = self.args.checksum.of_size(size);
        if self.args.leave_open {
            let part = upload.leave_open().await.map_err(failed)?;
            self.args.checksum.check(&self.path, part.crc32c)?;
            return Ok(Ended::left(part));
        }
        Ok(Ended::published(upload.commit(expected).await.map_err(failed)?))
    }

    /// Says what is left of an upload that ends early.
    async fn left(&self, upload: Upload, failure: Failure, interrupts: &Interrupts) -> Failure {
        if !self.is_resumable() {
            // If that fails, it expires.
            tokio::select! {
                _ = timeout(DISCARD_WITHIN, upload.abort()) => {}
                () = interrupts.reached(2) => {}
            }
            return failure.with_advice("; nothing was published");
        }
        let kept = upload.acked_offset();
        let of = self.size().map_or_else(String::new, |size| format!(" of {size}"));
        let words = format!(
            "; nothing was published, and {kept}{of} bytes are kept: the same command goes on there, with --abort it \
             discards them"
        );
        failure.with_advice(&words)
    }

    /// Discards what an earlier run has left.
    async fn abort(&self) -> Result<Exit, Failure> {
        let producer = self.producer.as_deref().unwrap_or_default();
        let failed = |error| Failure::writing(&self.path, &error);
        let state = self.client.write_state(&self.path, producer).await.map_err(failed)?;
        if !state.upload {
            let words = format!("{}: there is no upload that was left open ({producer})", self.path);
            return Err(Failure::new(Exit::NotFound, words));
        }
        self.open().await?.abort().await.map_err(failed)?;
        output::say(format_args!("inkpot: {}: {} bytes discarded", self.path, state.next_offset));
        Ok(Exit::Done)
    }
}

/// What became of the upload.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Ended {
    Published {
        size: u64,
        crc32c: String,
        generation: u64,
    },
    /// What CommitFiles asks for.
    Left {
        size: Option<u64>,
        crc32c: Option<String>,
        producer_id: String,
        producer_epoch: u64,
    },
}

impl Ended {
    fn published(published: Published) -> Self {
        let Published { size, generation, crc32c, .. } = published;
        Self::Published { size, crc32c: checksum::hex(crc32c), generation }
    }

    fn left(part: UploadPart) -> Self {
        let UploadPart { producer_id, producer_epoch, size, crc32c, .. } = part;
        Self::Left { size, crc32c: crc32c.map(checksum::hex), producer_id, producer_epoch }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { size, crc32c, generation } => {
                write!(f, "{size} bytes published, crc32c {crc32c}, generation {generation}")
            }
            Self::Left { producer_id, producer_epoch, .. } => {
                write!(f, "left open, producer {producer_id}, epoch {producer_epoch}")
            }
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Summary {
    path: String,
    #[serde(flatten)]
    ended: Ended,
    /// Bytes that an earlier run had sent.
    resumed_at: u64,
    seconds: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, ended, resumed_at, seconds } = self;
        write!(f, "{path}: {ended}, {seconds:.1} s")?;
        if *resumed_at > 0 { write!(f, "; {resumed_at} bytes were there from an earlier run") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
