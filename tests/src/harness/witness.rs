//! A load that notes everything: producers append through the client library in life after life, a reader reads, somebody
//! uploads whole files, and what they sent and were told is a [`History`] that the checker judges in the end. Losses of power are part
//! of it: what was only WRITTEN may be gone then, as a tail.
#![allow(clippy::missing_panics_doc)] // all of it judges

use super::{PATIENCE, files, server::Server, wait};
use crate::checker::{self, AppendId, Content, Contents, Event, History, Level, Producer as Who};
use bytes::Bytes;
use futures_util::StreamExt;
use inkpot_client::{
    BatchPolicy, Client, Durability, Error, ErrorKind, Expected, OpenOptions, Outcome, Producer, ReadOptions, Receipt,
    Session, UploadMode, UploadOptions, Writer,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Paths that uploads replace, each again and again.
const UPLOAD_PATHS: usize = 4;
/// Most bytes of an upload.
const UPLOAD_BYTES: usize = 300_000;

/// How many write to how many files.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Producers; each has a session of its own, and writes to every file.
    pub producers: usize,
    /// Files. Every other one is asked to be WRITTEN only.
    pub files: usize,
    /// Appends that each may have on their way in each file.
    pub window: usize,
    /// Longest rest between two appends to a file.
    pub rest: Duration,
    /// How long a client goes on trying when the server does not answer.
    pub bound: Duration,
}

struct Shared {
    shape: Shape,
    endpoint: String,
    history: Mutex<History>,
    /// What uploads were to bring, and whether it was published for certain; in the order of their beginning.
    uploads: Mutex<Vec<(String, Vec<u8>, bool)>>,
    acked: AtomicUsize,
    /// Lives of producers that ended because appends were gone that had been acknowledged.
    lost: AtomicUsize,
    stop: AtomicBool,
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event) {
        self.history().events.push(event);
    }

    fn events(&self) -> usize {
        self.history().events.len()
    }

    fn ends(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn client(&self) -> Client {
        let client = Client::builder(self.endpoint.clone()).give_up_after(self.shape.bound);
        client.connect().await.expect("the settings are valid")
    }

    /// The answer to an append.
    fn answered(&self, attempt: Attempt, answer: Result<inkpot_client::Ack, Error>) -> Result<(), Error> {
        let Attempt { append, sent } = attempt;
        match answer {
            Ok(ack) => {
                let level = if ack.level == Durability::Written { Level::Written } else { Level::Synced };
                let inkpot_client::Ack { first_offset: offset, generation, duplicate, .. } = ack;
                self.note(Event::Acked { append, offset, level, generation, duplicate, sent });
                self.acked.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                if error.outcome() == Outcome::NotApplied {
                    self.note(Event::Refused(append));
                }
                Err(error)
            }
        }
    }
}

/// An attempt to have an append done.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    append: AppendId,
    /// The event with which it began.
    sent: usize,
}

/// A load that runs.
pub struct Witness {
    shared: Arc<Shared>,
    producers: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Starts writing, reading and uploading.
    pub async fn start(server: &Server, shape: Shape, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            shape,
            endpoint: server.endpoint(),
            history: Mutex::default(),
            uploads: Mutex::default(),
            acked: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let mut producers = Vec::new();
        for producer in 0..shape.producers {
            let session = shared.client().await.session().await;
            for file in 0..shape.files {
                let seed = seed.wrapping_mul(1_000_003) + (producer * shape.files + file) as u64;
                let hand = Hand::new(Arc::clone(&shared), session.clone(), producer, file, seed);
                producers.push(tokio::spawn(hand.produce()));
            }
        }
        let mut others = vec![tokio::spawn(read(Arc::clone(&shared), seed))];
        for number in 0..UPLOAD_PATHS {
            let seed = seed.wrapping_mul(31) + number as u64;
            others.push(tokio::spawn(upload(Arc::clone(&shared), upload_path(number), seed)));
        }
        Self { shared, producers, others }
    }

    /// Appends that were acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Uploads that were published so far.
    #[must_use]
    pub fn published(&self) -> usize {
        self.shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|upload| upload.2).count()
    }

    /// How often a producer found that appends were gone which had been acknowledged as WRITTEN.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits until so many more appends are acknowledged.
    pub async fn goes_on(&self, more: usize, what: &str) {
        let until = self.acked() + more;
        wait::until(what, self.shared.shape.bound, || self.acked() >= until).await;
    }

    /// To be called when the server has lost power, before it starts again.
    pub fn power_lost(&self) {
        self.shared.note(Event::PowerLost);
    }

    /// Stops when everything is acknowledged, ends the server, and judges.
    pub async fn judge(mut self, server: &mut Server) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.producers.drain(..).chain(self.others.drain(..)) {
            let ended = tokio::time::timeout(self.shared.shape.bound, task).await;
            ended.expect("everything comes to an end").expect("a client that does not panic");
        }
        let mut contents = Contents::new();
        for file in 0..self.shared.shape.files {
            let path = path(file);
            // A file into which nothing came does not exist.
            let Ok(info) = files::stat(server, &path).await else { continue };
            let read = files::content(server, &path).await.expect("a file that can be read");
            contents.insert(path, Content { generation: info.generation, read, plain: Vec::new() });
        }
        let wholes = self.wholes(server).await;
        assert!(tokio::task::block_in_place(|| server.terminate()).success());
        for (path, content) in &mut contents {
            content.plain = fs::read(server.plain(path)).unwrap_or_default();
        }
        let violations = checker::check(&self.shared.history(), &contents);
        assert!(violations.is_empty(), "{violations:#?}");
        for (path, read) in wholes {
            assert_eq!(fs::read(server.plain(&path)).ok(), read, "the plain file of {path}");
        }
    }

    /// What is at the paths of uploads; each has the last one that was published for certain, or one that came later, whole.
    async fn wholes(&self, server: &Server) -> Vec<(String, Option<Vec<u8>>)> {
        let uploads = self.shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = Vec::new();
        for path in (0..UPLOAD_PATHS).map(upload_path) {
            let read = files::content(server, &path).await.ok();
            let mut may_be = vec![None];
            for (_, content, is_certain) in uploads.iter().filter(|upload| upload.0 == path) {
                if *is_certain {
                    may_be.clear();
                }
                may_be.push(Some(content));
            }
            assert!(may_be.contains(&read.as_ref()), "{path} has {:?} bytes of no upload", read.map(|read| read.len()));
            found.push((path, read));
        }
        found
    }
}

fn path(file: usize) -> String {
    format!("dir-{}/f{file:03}.log", file % 5)
}

fn upload_path(number: usize) -> String {
    format!("whole/u{number}")
}

fn durability(file: usize) -> Durability {
    if file.is_multiple_of(2) { Durability::Synced } else { Durability::Written }
}

/// A producer in one file.
struct Hand {
    shared: Arc<Shared>,
    session: Session,
    file: usize,
    producer: Who,
    /// Its appends, in order.
    ids: Vec<AppendId>,
    random: StdRng,
}

impl Hand {
    fn new(shared: Arc<Shared>, session: Session, producer: usize, file: usize, seed: u64) -> Self {
        let producer = Who { id: format!("p{producer}"), epoch: 1 };
        Self { shared, session, file, producer, ids: Vec::new(), random: StdRng::seed_from_u64(seed) }
    }

    /// Life after life, until it is told to stop and everything is in the file.
    async fn produce(mut self) {
        while let Err(error) = self.live().await {
            // Only what is WRITTEN may be gone.
            let may_lose = durability(self.file) == Durability::Written;
            match error.kind() {
                ErrorKind::AckedLost if may_lose => {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                }
                ErrorKind::AckedLost | ErrorKind::Protocol | ErrorKind::GaveUp => {
                    panic!("{:?} in {}: {error}", self.producer, path(self.file))
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..50))).await;
        }
    }

    async fn live(&mut self) -> Result<(), Error> {
        let path = path(self.file);
        let options = OpenOptions {
            durability: durability(self.file),
            producer: Producer::Named { id: self.producer.id.clone(), epoch: Some(self.producer.epoch) },
            batch: BatchPolicy { max_records: 1, ..BatchPolicy::default() },
            ..OpenOptions::default()
        };
        let asked = self.shared.events();
        let writer = self.session.open(&path, options).await?;
        let last_seq = writer.opened().last_seq;
        self.shared.note(Event::Opened { file: path, producer: self.producer.clone(), last_seq, asked });
        let mut waiting = VecDeque::new();
        let written = self.write(&writer, last_seq, &mut waiting).await;
        for (attempt, receipt) in waiting {
            let answer = receipt.await;
            // The first error is the one that says why.
            let _ = self.shared.answered(attempt, answer);
        }
        written?;
        writer.finish().await.map(|_| ())
    }

    async fn write(
        &mut self,
        writer: &Writer,
        done: u64,
        waiting: &mut VecDeque<(Attempt, Receipt)>,
    ) -> Result<(), Error> {
        let mut next = usize::try_from(done).unwrap_or(usize::MAX);
        loop {
            while waiting.len() < self.shared.shape.window && (next < self.ids.len() || !self.shared.ends()) {
                let append = self.append(next);
                let (attempt, data) = {
                    let mut history = self.shared.history();
                    history.events.push(Event::Sent(append));
                    let attempt = Attempt { append, sent: history.events.len() - 1 };
                    (attempt, Bytes::from(history.appends[append].data.clone()))
                };
                match writer.append(vec![data]).await {
                    Ok(receipt) => waiting.push_back((attempt, receipt)),
                    Err(error) => return self.shared.answered(attempt, Err(error)),
                }
                next += 1;
                if self.random.random_bool(0.3) {
                    let most = self.shared.shape.rest.as_micros().max(2);
                    let rest = self.random.random_range(1..u64::try_from(most).unwrap_or(u64::MAX));
                    tokio::time::sleep(Duration::from_micros(rest)).await;
                }
            }
            let Some((attempt, receipt)) = waiting.pop_front() else { return Ok(()) };
            self.shared.answered(attempt, receipt.await)?;
        }
    }

    /// Its append with this index, made up if there is none yet.
    fn append(&mut self, index: usize) -> AppendId {
        if index >= self.ids.len() {
            let most = if self.random.random_bool(0.02) { 40_000 } else { 300 };
            let len = self.random.random_range(1..most);
            let producer = Some((self.producer.clone(), index as u64 + 1));
            self.ids.push(self.shared.history().append(&path(self.file), producer, len));
        }
        self.ids[index]
    }
}

/// Reads files, from anywhere to the end.
async fn read(shared: Arc<Shared>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let client = shared.client().await;
    while !shared.ends() {
        let file = path(random.random_range(0..shared.shape.files));
        let offset = if random.random_bool(0.2) { 0 } else { -random.random_range(1..20_000) };
        // What cannot be read now can be read later; bytes that came count.
        let _ = tokio::time::timeout(PATIENCE, read_file(&shared, &client, &file, offset)).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(1..100))).await;
    }
}

async fn read_file(shared: &Shared, client: &Client, file: &str, offset: i64) -> Result<(), Error> {
    let asked = shared.events();
    let mut pieces = std::pin::pin!(client.files().read(file, ReadOptions { offset, ..ReadOptions::default() }));
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let (file, generation, offset, end) = (file.to_owned(), piece.generation, piece.offset, piece.end_offset);
        shared.note(Event::Read { file, generation, offset, data: piece.data.to_vec(), end, asked });
    }
    Ok(())
}

/// Replaces a file as a whole, again and again.
async fn upload(shared: Arc<Shared>, path: String, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let client = shared.client().await;
    let mut epoch = 0;
    while !shared.ends() {
        epoch += 1;
        let mut content = vec![0; random.random_range(0..UPLOAD_BYTES)];
        random.fill(&mut content[..]);
        let index = {
            let mut uploads = shared.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.push((path.clone(), content.clone(), false));
            uploads.len() - 1
        };
        if upload_one(&client, &path, content, epoch).await.is_ok() {
            shared.uploads.lock().unwrap_or_else(PoisonError::into_inner)[index].2 = true;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..60))).await;
    }
}

async fn upload_one(client: &Client, path: &str, content: Vec<u8>, epoch: u64) -> Result<(), Error> {
    let options = UploadOptions {
        mode: UploadMode::Replace,
        producer: Producer::Named { id: "uploader".to_owned(), epoch: Some(epoch) },
        chunk_bytes: 64 << 10,
        ..UploadOptions::default()
    };
    let mut upload = client.upload(path, options).await?;
    let expected = Expected { size: Some(content.len() as u64), crc32c: Some(crc32c::crc32c(&content)) };
    upload.write(content.into()).await?;
    upload.commit(expected).await.map(|_| ())
}
