//! `inkpot demo`: the main job, with the accident in it. A server of its own takes a real text from several
//! producers, is killed with SIGKILL while writes are in flight and started again; in the end each file is compared
//! with what the acks say. Nothing that the user has is touched.

mod report;
mod stream;
mod text;
mod verify;

use super::{
    child::{self, ChildServer},
    failure::{Exit, Failure},
    global::GlobalArgs,
    output,
};
use inkpot_client::{Client, Files};
use report::FileReport;
use std::{
    env, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use stream::{Harvest, Streamer, Tally};
use text::Text;
use tokio::{task::JoinSet, time::timeout};
use verify::Placed;

/// Least records of the source text: enough that the kill falls into the middle on any disk.
const LEAST_RECORDS: usize = 300_000;
/// How long the streaming may take, with the restart in it.
const STREAM_WITHIN: Duration = Duration::from_secs(240);
/// How long the plain files may take to have all that was committed.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);
const APPLIED_POLL: Duration = Duration::from_millis(20);

/// Stream a text into a server of its own, kill the server in the middle, and compare every byte
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Data folder of the server; without it: a temporary one
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Producers, each with a connection of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    producers: u16,
    /// Files that all producers write to
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    files: u16,
    /// Stream stdin instead of the sources below the current directory
    #[arg(long)]
    stdin: bool,
    /// Leave the temporary data folder behind
    #[arg(long)]
    keep: bool,
}

/// Runs `inkpot demo`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let mut text = gather(args.stdin).await?;
    if text.lines.is_empty() {
        return Err(Failure::new(Exit::Error, format!("there is no text to stream: {} is empty", text.origin)));
    }
    let times = if args.stdin { 1 } else { text.repeat_to(LEAST_RECORDS) };
    let place = Place::new(&args)?;
    let story = Story::new();
    story.tell(format_args!("text: {}, {} lines in all ({times} times over)", text.origin, text.lines.len()));
    let result = Demo { args: &args, place: &place, story: &story }.run(&text).await;
    if args.keep || args.data_dir.is_some() {
        story.tell(format_args!("the data folder stays: {}", place.data_dir.display()));
    }
    report::show(global.format, &result?)
}

async fn gather(stdin: bool) -> Result<Text, Failure> {
    let gathered = tokio::task::spawn_blocking(move || match stdin {
        true => Text::of_stream(io::stdin()),
        false => env::current_dir().map(|directory| Text::of_sources(&directory)),
    });
    let gathered = gathered.await.map_err(|error| Failure::error("cannot gather the text", error))?;
    gathered.map_err(|error| Failure::error("cannot gather the text", error))
}

/// Where the server works. A temporary place is gone with this, unless it is kept.
#[derive(Debug)]
struct Place {
    data_dir: PathBuf,
    scratch: tempfile::TempDir,
}

impl Place {
    fn new(args: &Args) -> Result<Self, Failure> {
        let mut scratch = tempfile::Builder::new()
            .prefix("inkpot-demo-")
            .tempdir()
            .map_err(|error| Failure::error("cannot make a temporary folder", error))?;
        scratch.disable_cleanup(args.keep);
        let data_dir = args.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        Ok(Self { data_dir, scratch })
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }

    /// The plain file behind a path. Without tokens everybody is the tenant `default`.
    fn plain(&self, path: &str) -> PathBuf {
        self.data_dir.join("files").join("default").join(path)
    }
}

/// Tells on stderr what happens, and when.
#[derive(Debug)]
struct Story(Instant);

impl Story {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn tell(&self, what: impl std::fmt::Display) {
        output::say(format_args!("[{:7.3} s] {what}", self.0.elapsed().as_secs_f64()));
    }
}

struct Demo<'a> {
    args: &'a Args,
    place: &'a Place,
    story: &'a Story,
}

impl Demo<'_> {
    async fn run(&self, text: &Text) -> Result<Vec<FileReport>, Failure> {
        let server = self.start(child::ANY_PORT).await?;
        self.story.tell(format_args!("server {} listens on {}", Pid(&server), server.address()));
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let paths: Vec<String> = (0..self.args.files).map(|file| format!("demo-{run}/text-{file:02}.log")).collect();
        let total = text.lines.len() as u64;
        let tally = Arc::new(Tally::new());
        let producers = self.stream(text, &paths, &server.endpoint(), &tally);
        let both = async { tokio::try_join!(self.accident(server, total, &tally), all(producers)) };
        let both = timeout(STREAM_WITHIN, both).await;
        let (server, harvests) = both.map_err(|_| Failure::new(Exit::Unknown, stuck(total, &tally)))??;
        let sum = |of: fn(&Harvest) -> u64| harvests.iter().map(of).sum::<u64>();
        let (duplicates, reconnects) = (sum(|h| h.duplicates), sum(|h| h.reconnects));
        self.story.tell(format_args!(
            "all {} records acked; reconnects {reconnects}, appends found committed when sent again: {duplicates}",
            tally.acked()
        ));
        let mut reports = self.verify(&server, &paths, harvests).await?;
        report::count_sent(&mut reports, &stream::deal(&text.lines, self.producers(), paths.len()));
        self.story.tell("compared what was sent, what Read gives and the plain files");
        server.kill().await?;
        Ok(reports)
    }

    fn producers(&self) -> usize {
        usize::from(self.args.producers)
    }

    async fn start(&self, listen: &str) -> Result<ChildServer, Failure> {
        ChildServer::coordinator(listen, &self.place.data_dir, &self.place.log(), []).await
    }

    fn stream(&self, text: &Text, paths: &[String], endpoint: &str, tally: &Arc<Tally>) -> Producers {
        let mut producers = JoinSet::new();
        for (number, pieces) in stream::deal(&text.lines, self.producers(), paths.len()).into_iter().enumerate() {
            let streamer = Streamer { number, endpoint: endpoint.to_owned(), paths: paths.to_vec(), pieces };
            let tally = Arc::clone(tally);
            producers.spawn(async move { streamer.run(&tally).await });
        }
        producers
    }

    /// Kills the server when a third of the records is acked, and starts it again where it was.
    async fn accident(&self, server: ChildServer, total: u64, tally: &Tally) -> Result<ChildServer, Failure> {
        tally.until_acked((total / 3).max(1)).await;
        let (pid, address) = (Pid(&server).to_string(), server.address().to_string());
        let (sent, acked) = (tally.sent(), tally.acked());
        server.kill().await?;
        let open = sent.saturating_sub(acked);
        self.story.tell(format_args!("SIGKILL to server {pid}: {acked} of {total} records acked, {open} in flight"));
        tally.release();
        let since = Instant::now();
        let server = self.start(&address).await?;
        let took = since.elapsed().as_millis();
        self.story.tell(format_args!("server {} listens again on {address}, after {took} ms", Pid(&server)));
        Ok(server)
    }

    async fn verify(
        &self,
        server: &ChildServer,
        paths: &[String],
        harvests: Vec<Harvest>,
    ) -> Result<Vec<FileReport>, Failure> {
        let client = Client::builder(server.endpoint()).connect().await;
        let files = client.map_err(|error| Failure::reading(server.endpoint(), &error))?.files();
        let mut placed: Vec<Vec<Placed>> = vec![Vec::new(); paths.len()];
        for harvest in harvests {
            placed.iter_mut().zip(harvest.placed).for_each(|(all, own)| all.extend(own));
        }
        let mut reports = Vec::with_capacity(paths.len());
        for (path, placed) in paths.iter().zip(placed) {
            if !placed.is_empty() {
                applied(&files, path).await?;
            }
            reports.push(FileReport::compare(&files, path, &self.place.plain(path), placed).await);
        }
        Ok(reports)
    }
}

/// Waits until the plain file has all that is committed. One that another program changed is left as it is.
async fn applied(files: &Files, path: &str) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let file = files.stat(path).await.map_err(|error| Failure::reading(path, &error))?;
        if file.applied_size >= file.size || file.foreign_change {
            return Ok(());
        }
        if since.elapsed() > APPLIED_WITHIN {
            let message = format!("{path}: only {} of {} bytes are in the plain file", file.applied_size, file.size);
            return Err(Failure::new(Exit::Error, message));
        }
        tokio::time::sleep(APPLIED_POLL).await;
    }
}

type Producers = JoinSet<Result<Harvest, Failure>>;

fn stuck(total: u64, tally: &Tally) -> String {
    format!("after {STREAM_WITHIN:?} only {} of {total} records were acked", tally.acked())
}

async fn all(mut producers: Producers) -> Result<Vec<Harvest>, Failure> {
    let mut harvests = Vec::with_capacity(producers.len());
    while let Some(harvest) = producers.join_next().await {
        harvests.push(harvest.map_err(|error| Failure::error("a producer died", error))??);
    }
    Ok(harvests)
}

/// Process id, for people.
struct Pid<'a>(&'a ChildServer);

impl std::fmt::Display for Pid<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.pid() {
            Some(pid) => write!(f, "(pid {pid})"),
            None => f.write_str("(dead)"),
        }
    }
}
