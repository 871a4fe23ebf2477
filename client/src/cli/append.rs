//! `inkpot append`: stdin becomes records of a file. Ends well only when every record is acknowledged; in every other
//! case it says which part of the input is in the file for sure.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    input::{self, Cut, InputError, Records},
    interrupt::Interrupts,
    output::{self, Format, Level},
    units,
};
use bytes::Bytes;
use indicatif::ProgressBar;
use inkpot_client::{BatchPolicy, Error, OpenOptions, Opened, PathTemplate, Producer, Progress, Session, Writer};
use inkpot_proto::{
    limits::{MAX_MESSAGE_BYTES, MESSAGE_OVERHEAD_BYTES},
    v1::{Admission, Framing, Limits, Outcome},
};
use serde::Serialize;
use std::{
    fmt, io,
    time::{Duration, SystemTime},
};
use tokio::{sync::mpsc, time::timeout};

/// How long acks are waited for after an interrupt.
const LAST_ACKS: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
Examples:
  journalctl -f | inkpot append logs/journal                      for as long as there are lines
  inkpot append logs/app <app.log                                 all of a file, each line once
  tar c . | inkpot append backup.tar --raw                        bytes instead of lines
  inkpot append import --producer importer-1 --epoch 2 <day.csv   fences epoch 1, wherever it still runs
  inkpot append 'logs/{app}/{date}' --template --var app=web      logs/web/2026-11-23";

/// Append stdin to a file, a record per line
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root
    path: String,
    /// PATH is a template: {date}, {hour} (both UTC, as of now), {host}, {pid} and the names given with --var are replaced
    #[arg(long)]
    template: bool,
    /// Value of a name in the template; may be repeated
    #[arg(long = "var", requires = "template", value_parser = variable, value_name = "NAME=VALUE")]
    variables: Vec<(String, String)>,
    /// Send chunks of bytes instead of lines
    #[arg(long)]
    raw: bool,
    /// Size of a chunk
    #[arg(long, default_value = "64KiB", value_parser = units::some_bytes, requires = "raw", value_name = "BYTES")]
    chunk_size: usize,
    /// Name of this producer; a later append of the same name takes over from an earlier one that still runs.
    /// Without it: a random one. Either way no record is written twice, whatever breaks while this runs
    #[arg(long, value_name = "ID")]
    producer: Option<String>,
    /// Which life of the producer this is; higher fences lower; without it: the server allots the next
    #[arg(long, requires = "producer", value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    epoch: Option<u64>,
    /// What a record survives once it is acknowledged
    #[arg(long, value_enum, default_value_t = Level::Synced)]
    durability: Level,
    /// Most records of one append
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    batch_records: Option<u32>,
    /// Most bytes of one append
    #[arg(long, value_parser = units::size, value_name = "BYTES")]
    batch_bytes: Option<u64>,
    /// How long a record may wait for others to share its append
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    linger: Option<Duration>,
    /// Give up after this long without progress; until then server restarts are ridden through
    #[arg(long, default_value = "60s", value_parser = units::some_time, value_name = "TIME")]
    give_up_after: Duration,
    /// How the records lie in the file
    #[arg(long, value_enum, default_value_t = Frames::None, value_name = "FRAMING")]
    framing: Frames,
    /// The server puts the time at which it took it before each record: RFC 3339, UTC, milliseconds, and a space
    #[arg(long)]
    timestamps: bool,
    /// At a limit of the tenant fail at once instead of waiting for room
    #[arg(long)]
    reject: bool,
}

/// Framing of the records, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Frames {
    /// One after the other, as they are
    None,
    /// A record gets the newline at its end that it lacks; one that has another newline in it is refused
    Newline,
    /// A record gets the newline at its end that it lacks; others in it are kept
    NewlineKeep,
    /// As they are; a record that does not end with its only newline is refused
    Lines,
    /// The length of each record stands before it, as in protobuf's delimited streams; its newline counts
    LengthDelimited,
}

impl From<Frames> for Framing {
    fn from(frames: Frames) -> Self {
        match frames {
            Frames::None => Self::None,
            Frames::Newline => Self::Newline,
            Frames::NewlineKeep => Self::NewlineKeep,
            Frames::Lines => Self::Lines,
            Frames::LengthDelimited => Self::LengthDelimited,
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Args {
    /// The path that is meant, by the time that it is now.
    fn path(&self, now: SystemTime) -> Result<String, Failure> {
        if !self.template {
            return Ok(self.path.clone());
        }
        let values: Vec<_> = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let template = PathTemplate::parse(&self.path);
        let unused = |template: &PathTemplate| {
            let unused = values.iter().find(|(name, _)| !template.variables().any(|known| known == *name));
            unused.map(|(name, _)| Failure::new(Exit::Usage, format!("--var {name}: it is not in {:?}", self.path)))
        };
        let bad = |error: Error| Failure::new(Exit::Usage, error.to_string());
        let template = template.map_err(bad)?;
        unused(&template).map_or(Ok(()), Err)?;
        template.render(&values, now).map_err(bad)
    }

    fn options(&self) -> OpenOptions {
        let mut batch = BatchPolicy::default();
        batch.max_records = self.batch_records.unwrap_or(batch.max_records);
        batch.max_bytes = self.batch_bytes.unwrap_or(batch.max_bytes);
        batch.linger = self.linger.unwrap_or(batch.linger);
        let producer = match &self.producer {
            Some(id) => Producer::Named { id: id.clone(), epoch: self.epoch },
            None => Producer::Auto,
        };
        let admission = if self.reject { Admission::Reject } else { Admission::Wait };
        OpenOptions {
            durability: self.durability.into(),
            admission,
            framing: self.framing.into(),
            timestamps: self.timestamps,
            producer,
            batch,
            ..OpenOptions::default()
        }
    }

    fn cut(&self) -> Cut {
        if self.raw { Cut::Chunks(self.chunk_size) } else { Cut::Lines }
    }
}

/// Runs `inkpot append`.
pub(crate) async fn run(global: &GlobalArgs, mut args: Args) -> Result<Exit, Failure> {
    args.path = args.path(SystemTime::now())?;
    let interrupts = Interrupts::watch()?;
    let (session, writer) = tokio::select! {
        opened = open(global, &args) => opened?,
        () = interrupts.reached(1) => return Err(Failure::new(Exit::Interrupted, "interrupted; nothing was sent")),
    };
    let opened = writer.opened();
    say_if_resumed(&args, opened);
    let limit = record_limit(&opened.limits);
    if args.raw && args.chunk_size > limit {
        let message = format!("--chunk-size {} is above the record limit of {limit} bytes", args.chunk_size);
        return Err(Failure::new(Exit::Usage, message));
    }
    let records =
        input::spawn(io::stdin(), args.cut(), limit).map_err(|error| Failure::error("cannot read stdin", error))?;
    let ending = copy(&writer, records, &interrupts).await;
    let ending = settle(&writer, ending, &interrupts).await;
    let summary = Summary::new(&args.path, &writer.progress(), &session, &ending);
    let told = match global.format {
        Format::Json => output::answer(Format::Json, &summary).await,
        Format::Text => {
            output::say(&summary);
            Ok(())
        }
    };
    if matches!(ending, Ending::Complete) {
        // A courtesy to the server: everything is acknowledged, and nothing that goes wrong now changes that.
        let _ = timeout(LAST_ACKS, writer.finish()).await;
    }
    ending.exit()?.told(told)
}

async fn open(global: &GlobalArgs, args: &Args) -> Result<(Session, Writer), Failure> {
    let target = global.target()?;
    let client = target.connect(target.builder()?.give_up_after(args.give_up_after)).await?;
    let session = client.session().await;
    // Nothing has been sent, so nothing is in doubt.
    let opened = session.open(&args.path, args.options()).await;
    let writer = opened.map_err(|error| Failure::reading(&args.path, &error))?;
    Ok((session, writer))
}

/// An epoch that is taken up again goes on: the tool cannot know which part of the input was sent in its earlier life.
fn say_if_resumed(args: &Args, opened: &Opened) {
    if opened.last_seq > 0 {
        let Args { path, producer, .. } = args;
        let (producer, epoch, appends) = (producer.as_deref().unwrap_or("-"), opened.epoch, opened.last_seq);
        output::say(format_args!(
            "inkpot: {path}: producer {producer} has {appends} appends there in epoch {epoch}; all of the input is \
             appended after them"
        ));
    }
}

/// Largest record, in bytes, that one append can carry. A bound of 0 is none.
fn record_limit(limits: &Limits) -> usize {
    let message = limits.max_message_bytes.saturating_sub(MESSAGE_OVERHEAD_BYTES as u64);
    let bounds = [limits.max_record_bytes, limits.max_append_bytes, message];
    let lowest = bounds.into_iter().filter(|bound| *bound > 0).min();
    lowest.map_or(MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD_BYTES, |bound| usize::try_from(bound).unwrap_or(usize::MAX))
}

/// What made the copying end.
#[derive(Debug)]
enum Ending {
    /// The input is at its end.
    Complete,
    /// A signal.
    Interrupted,
    /// The input cannot be sent any further.
    Input(InputError),
    /// The server or the transport.
    Stopped(Error),
}

/// Sends records until there are no more, or no more can be sent.
async fn copy(writer: &Writer, mut records: mpsc::Receiver<Records>, interrupts: &Interrupts) -> Ending {
    let bar = output::spinner();
    let ending = loop {
        let chunk = tokio::select! {
            biased;
            () = interrupts.reached(1) => break Ending::Interrupted,
            chunk = records.recv() => chunk,
        };
        let chunk = match chunk {
            None => break Ending::Complete,
            Some(Err(error)) => break Ending::Input(error),
            Some(Ok(chunk)) => chunk,
        };
        let sent = tokio::select! {
            biased;
            () = interrupts.reached(1) => break Ending::Interrupted,
            sent = send(writer, chunk) => sent,
        };
        if let Err(error) = sent {
            break Ending::Stopped(error);
        }
        show(&bar, &writer.progress());
    };
    bar.finish_and_clear();
    ending
}

async fn send(writer: &Writer, records: Vec<Bytes>) -> Result<(), Error> {
    for record in records {
        writer.write(record).await?;
    }
    Ok(())
}

fn show(bar: &ProgressBar, progress: &Progress) {
    if !bar.is_hidden() {
        let Progress { sent_records, acked_records, acked_bytes, .. } = progress;
        bar.set_message(format!("{acked_records} of {sent_records} records acknowledged, {acked_bytes} bytes"));
    }
}

/// Waits for the acks of what was sent: until the library gives up, but after an interrupt only a bounded time, and
/// after the next one not at all.
async fn settle(writer: &Writer, ending: Ending, interrupts: &Interrupts) -> Ending {
    match ending {
        Ending::Stopped(error) => Ending::Stopped(error),
        Ending::Interrupted => {
            last_acks(writer, interrupts).await;
            Ending::Interrupted
        }
        Ending::Complete | Ending::Input(_) => {
            let flushed = tokio::select! {
                biased;
                () = interrupts.reached(1) => None,
                flushed = writer.flush() => Some(flushed),
            };
            match flushed {
                Some(Ok(_)) => ending,
                Some(Err(error)) => Ending::Stopped(error),
                None => {
                    last_acks(writer, interrupts).await;
                    Ending::Interrupted
                }
            }
        }
    }
}

/// What it gives stands in the writer's progress; that it fails shows there as well.
async fn last_acks(writer: &Writer, interrupts: &Interrupts) {
    output::say("inkpot: interrupted; waiting for the last acknowledgements (again: stop at once)");
    tokio::select! {
        _ = timeout(LAST_ACKS, writer.flush()) => {}
        () = interrupts.reached(2) => {}
    }
}

impl Ending {
    fn exit(self) -> Result<Exit, Failure> {
        match self {
            Self::Complete => Ok(Exit::Done),
            Self::Interrupted => Ok(Exit::Interrupted),
            Self::Input(error) => Err(Failure::new(Exit::Error, error.to_string())),
            Self::Stopped(error) => Err(Failure::writing("append stopped", &error)),
        }
    }
}

/// What became of the input. Offsets in bytes of the file.
#[derive(Debug, Serialize)]
struct Summary {
    path: String,
    /// Whether the whole input is acknowledged.
    complete: bool,
    records_sent: u64,
    records: u64,
    bytes: u64,
    /// Read, and not in the file: refused, behind one that was refused, or never sent because no server was there.
    records_not_written: u64,
    /// Not acknowledged, and in the file or not.
    records_unknown: u64,
    first_offset: Option<u64>,
    end_offset: Option<u64>,
    level: Option<&'static str>,
    duplicates: u64,
    reconnects: u64,
}

impl Summary {
    fn new(path: &str, progress: &Progress, session: &Session, ending: &Ending) -> Self {
        let open = progress.sent_records.saturating_sub(progress.acked_records);
        let not_written = matches!(ending, Ending::Stopped(error) if error.outcome() == Outcome::NotApplied);
        Self {
            path: path.to_owned(),
            complete: matches!(ending, Ending::Complete) && open == 0,
            records_sent: progress.sent_records,
            records: progress.acked_records,
            bytes: progress.acked_bytes,
            records_not_written: if not_written { open } else { 0 },
            records_unknown: if not_written { 0 } else { open },
            first_offset: progress.first_offset,
            end_offset: progress.end_offset,
            level: progress.level.map(output::level_name),
            duplicates: progress.duplicates,
            reconnects: session.stats().reconnects,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} records, {} bytes acknowledged", self.path, self.records, self.bytes)?;
        if let (Some(first), Some(end)) = (self.first_offset, self.end_offset) {
            write!(f, " at [{first}, {end})")?;
        }
        if let Some(level) = self.level {
            write!(f, ", {level}")?;
        }
        write!(f, "; duplicates {}, reconnects {}", self.duplicates, self.reconnects)?;
        if self.records_not_written > 0 {
            write!(f, "; {} records more were read and are not in the file", self.records_not_written)?;
        }
        if self.records_unknown > 0 {
            write!(f, "; {} records more were sent, not known whether they are in the file", self.records_unknown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
