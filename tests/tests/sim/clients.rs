//! The simulated clients: the real library, and a note of all that it was told.

use super::{net, plan::Writing, server, trace::Trace};
use bytes::Bytes;
use futures_util::StreamExt;
use inkpot_client::{
    AppendOnce, BatchPolicy, Client, Durability, Error, ErrorReason, OpenOptions, Outcome, Producer as Named,
    ReadOptions, Receipt, Writer,
};
use inkpot_tests::checker::{AppendId, Event, History, Level, Producer};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};
use tokio::time::{sleep, timeout};

/// What all clients of a simulation share.
#[derive(Clone)]
pub struct Notebook {
    history: Rc<RefCell<History>>,
    trace: Trace,
}

impl Notebook {
    /// An empty one.
    pub fn new(trace: Trace) -> Self {
        Self { history: Rc::default(), trace }
    }

    /// What was noted.
    pub fn history(&self) -> History {
        self.history.borrow().clone()
    }

    /// Notes that something happened.
    pub fn note(&self, event: Event) {
        match &event {
            Event::Read { file, generation, offset, data, .. } => {
                let crc = crc32c::crc32c(data);
                self.trace.note(format!("read {file} generation {generation} {offset}+{} {crc:08x}", data.len()));
            }
            event => self.trace.note(format!("{event:?}")),
        }
        self.history.borrow_mut().events.push(event);
    }

    /// How many events there are.
    fn events(&self) -> usize {
        self.history.borrow().events.len()
    }

    fn make(&self, file: &str, producer: Option<(Producer, u64)>, len: usize) -> AppendId {
        self.history.borrow_mut().append(file, producer, len)
    }

    fn data(&self, id: AppendId) -> Bytes {
        Bytes::from(self.history.borrow().appends[id].data.clone())
    }

    /// An attempt failed.
    fn failed(&self, id: AppendId, error: &Error) {
        self.trace.note(format!("append {id} failed: {error}"));
        if error.outcome() == Outcome::NotApplied {
            self.note(Event::Refused(id));
        }
    }

    fn acked(&self, append: AppendId, ack: &inkpot_client::Ack) {
        let level = if ack.level == Durability::Written { Level::Written } else { Level::Synced };
        self.note(Event::Acked { append, offset: ack.first_offset, level, generation: ack.generation });
    }
}

/// A client that finds out about dead connections soon, and gives up within seconds.
async fn client() -> Client {
    let builder = Client::builder(server::ENDPOINT)
        .connector(net::connect)
        .connect_timeout(Duration::from_millis(800))
        .keepalive(Duration::from_millis(500), Duration::from_millis(500))
        .give_up_after(Duration::from_secs(3));
    builder.connect().await.expect("the settings are valid")
}

/// How a life of a producer ended.
enum End {
    /// Everything is in the file.
    Done,
    /// A higher epoch has taken over.
    Fenced,
    /// It goes on in another life.
    Failed,
}

/// Brings all appends of a producer to its file: in life after life, each of which may end at any moment.
pub async fn produce(notebook: Notebook, writing: Writing) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(writing.seed);
    let mut ids = Vec::new();
    sleep(writing.begin).await;
    loop {
        // Some lives end in the middle of something.
        let most = if rng.random_bool(writing.vanishes) { rng.random_range(1..2000) } else { 3_600_000 };
        let life = live(&notebook, &writing, &mut ids, rng.random());
        let ended = timeout(Duration::from_millis(most), life).await;
        match ended {
            Ok(End::Done | End::Fenced) => return Ok(()),
            Ok(End::Failed) => {}
            Err(_) => notebook.trace.note(format!("{:?} vanishes", writing.producer)),
        }
        sleep(Duration::from_millis(rng.random_range(1..300))).await;
    }
}

async fn live(notebook: &Notebook, writing: &Writing, ids: &mut Vec<AppendId>, seed: u64) -> End {
    let client = client().await;
    let session = client.session().await;
    let Producer { id, epoch } = writing.producer.clone();
    let options = OpenOptions {
        durability: writing.durability,
        producer: Named::Named { id, epoch: Some(epoch) },
        batch: BatchPolicy { max_records: 1, ..BatchPolicy::default() },
        ..OpenOptions::default()
    };
    let asked = notebook.events();
    let writer = match session.open(&writing.file, options).await {
        Ok(writer) => writer,
        Err(error) => return failed(notebook, writing, &error),
    };
    let last_seq = writer.opened().last_seq;
    let (file, producer) = (writing.file.clone(), writing.producer.clone());
    notebook.note(Event::Opened { file, producer, last_seq, asked });
    let done = usize::try_from(last_seq).unwrap_or(usize::MAX);
    match write(notebook, writing, &writer, ids, done, seed).await {
        Ok(()) => match writer.finish().await {
            Ok(_) => End::Done,
            Err(error) => failed(notebook, writing, &error),
        },
        Err(error) => failed(notebook, writing, &error),
    }
}

fn failed(notebook: &Notebook, writing: &Writing, error: &Error) -> End {
    notebook.trace.note(format!("{:?} failed: {error}", writing.producer));
    if error.reason() == Some(ErrorReason::ProducerFenced) { End::Fenced } else { End::Failed }
}

async fn write(
    notebook: &Notebook,
    writing: &Writing,
    writer: &Writer,
    ids: &mut Vec<AppendId>,
    done: usize,
    seed: u64,
) -> Result<(), Error> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut next = done;
    let mut waiting: VecDeque<(AppendId, Receipt)> = VecDeque::new();
    while next < writing.appends || !waiting.is_empty() {
        while next < writing.appends && waiting.len() < writing.window {
            if next >= ids.len() {
                let producer = Some((writing.producer.clone(), next as u64 + 1));
                ids.push(notebook.make(&writing.file, producer, writing.len(&mut rng)));
            }
            let id = ids[next];
            notebook.note(Event::Sent(id));
            match writer.append(vec![notebook.data(id)]).await {
                Ok(receipt) => waiting.push_back((id, receipt)),
                Err(error) => {
                    notebook.failed(id, &error);
                    return collect(notebook, waiting, error).await;
                }
            }
            next += 1;
            if rng.random_bool(0.2) {
                sleep(writing.pause(&mut rng)).await;
            }
        }
        let Some((id, receipt)) = waiting.pop_front() else { break };
        match receipt.await {
            Ok(ack) => notebook.acked(id, &ack),
            Err(error) => {
                notebook.failed(id, &error);
                return collect(notebook, waiting, error).await;
            }
        }
    }
    Ok(())
}

/// The channel has failed: what is on its way has an answer too, or never gets one.
async fn collect(notebook: &Notebook, waiting: VecDeque<(AppendId, Receipt)>, error: Error) -> Result<(), Error> {
    for (id, receipt) in waiting {
        match receipt.await {
            Ok(ack) => notebook.acked(id, &ack),
            Err(error) => notebook.failed(id, &error),
        }
    }
    Err(error)
}

/// Appends in calls of their own, without a producer: each is tried once.
pub async fn append_alone(notebook: Notebook, writing: Writing) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(writing.seed);
    sleep(writing.begin).await;
    let client = client().await;
    for _ in 0..writing.appends {
        let id = notebook.make(&writing.file, None, writing.len(&mut rng));
        notebook.note(Event::Sent(id));
        let options = AppendOnce { durability: writing.durability, ..AppendOnce::default() };
        let call = client.append_once(&writing.file, vec![notebook.data(id)], options);
        match timeout(Duration::from_millis(rng.random_range(1..4000)), call).await {
            Ok(Ok(ack)) => notebook.acked(id, &ack),
            Ok(Err(error)) => notebook.failed(id, &error),
            Err(_) => {}
        }
        sleep(writing.pause(&mut rng)).await;
    }
    Ok(())
}

/// Reads files now and then, from anywhere to the end.
pub async fn read(notebook: Notebook, files: Vec<String>, times: usize, seed: u64) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(seed);
    let client = client().await;
    for _ in 0..times {
        sleep(Duration::from_millis(rng.random_range(1..400))).await;
        let file = &files[rng.random_range(0..files.len())];
        let back = if rng.random_bool(0.5) { 0 } else { -rng.random_range(1..20_000) };
        let _ = timeout(Duration::from_secs(2), read_file(&notebook, &client, file, back)).await;
    }
    Ok(())
}

/// All that there is from `offset` on, and the generation; `None` if there is no file, or no answer.
async fn read_file(notebook: &Notebook, client: &Client, file: &str, offset: i64) -> Result<(u64, Vec<u8>), Error> {
    let asked = notebook.events();
    let options = ReadOptions { offset, ..ReadOptions::default() };
    let mut pieces = std::pin::pin!(client.files().read(file, options));
    let (mut generation, mut content) = (0, Vec::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        generation = piece.generation;
        content.extend_from_slice(&piece.data);
        let (file, data) = (file.to_owned(), piece.data.to_vec());
        notebook.note(Event::Read { file, generation, offset: piece.offset, data, asked });
    }
    Ok((generation, content))
}

/// What a file is in the end; asks until somebody knows. `None`: it does not exist.
pub async fn read_whole(notebook: &Notebook, file: &str) -> Option<(u64, Vec<u8>)> {
    let client = client().await;
    loop {
        match read_file(notebook, &client, file, 0).await {
            Ok(found) => return Some(found),
            Err(error) if error.reason() == Some(ErrorReason::FileNotFound) => return None,
            Err(error) => notebook.trace.note(format!("{file} cannot be read yet: {error}")),
        }
        sleep(Duration::from_millis(200)).await;
    }
}
