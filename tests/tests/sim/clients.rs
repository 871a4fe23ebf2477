//! Those who write: the real library, and a note of all that it was told.

use super::{notebook::Notebook, plan::Writing};
use inkpot_client::{
    AppendOnce, BatchPolicy, Client, Error, ErrorReason, OpenOptions, Producer as Named, Receipt, Writer,
};
use inkpot_tests::checker::{AppendId, Event, Producer};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{collections::VecDeque, time::Duration};
use tokio::time::{sleep, timeout};

/// How a life of a producer ended.
enum End {
    /// Everything is in the file.
    Done,
    /// Another one has taken over, or the file takes no more.
    Over,
    /// It goes on in another life.
    Failed,
}

/// Brings all appends of a producer to its file: in life after life, each of which may end at any moment.
pub async fn produce(notebook: Notebook, number: usize, writing: Writing) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(writing.seed);
    sleep(writing.begin).await;
    loop {
        // Some lives end in the middle of something.
        let most = if rng.random_bool(writing.vanishes) { rng.random_range(1..2000) } else { 3_600_000 };
        let life = live(&notebook, number, &writing, rng.random());
        let ended = timeout(Duration::from_millis(most), life).await;
        match ended {
            Ok(End::Done | End::Over) => return Ok(()),
            Ok(End::Failed) => {}
            Err(_) => notebook.trace.note(format!("{:?} vanishes", writing.producer)),
        }
        sleep(Duration::from_millis(rng.random_range(1..300))).await;
    }
}

async fn live(notebook: &Notebook, number: usize, writing: &Writing, seed: u64) -> End {
    let client = notebook.client(number).await;
    let session = client.session().await;
    let Producer { id, epoch } = writing.producer.clone();
    let options = OpenOptions {
        durability: writing.durability,
        admission: writing.admission,
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
    match write(notebook, writing, &writer, done, seed).await {
        Ok(()) => match writer.finish().await {
            Ok(_) => End::Done,
            Err(error) => failed(notebook, writing, &error),
        },
        Err(error) => failed(notebook, writing, &error),
    }
}

fn failed(notebook: &Notebook, writing: &Writing, error: &Error) -> End {
    notebook.trace.note(format!("{:?} failed: {error}", writing.producer));
    match error.reason() {
        Some(ErrorReason::ProducerFenced | ErrorReason::Sealed) => End::Over,
        _ => End::Failed,
    }
}

async fn write(notebook: &Notebook, writing: &Writing, writer: &Writer, done: usize, seed: u64) -> Result<(), Error> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut next = done;
    let mut waiting: VecDeque<(AppendId, usize, Receipt)> = VecDeque::new();
    while next < writing.appends || !waiting.is_empty() {
        while next < writing.appends && waiting.len() < writing.window {
            let id = notebook.numbered(&writing.file, &writing.producer, next, writing.len(&mut rng));
            let sent = notebook.sent(id);
            match writer.append(vec![notebook.data(id)]).await {
                Ok(receipt) => waiting.push_back((id, sent, receipt)),
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
        let Some((id, sent, receipt)) = waiting.pop_front() else { break };
        match receipt.await {
            Ok(ack) => notebook.acked(id, sent, &ack),
            Err(error) => {
                notebook.failed(id, &error);
                return collect(notebook, waiting, error).await;
            }
        }
    }
    Ok(())
}

/// The channel has failed: what is on its way has an answer too, or never gets one.
async fn collect(
    notebook: &Notebook,
    waiting: VecDeque<(AppendId, usize, Receipt)>,
    error: Error,
) -> Result<(), Error> {
    for (id, sent, receipt) in waiting {
        match receipt.await {
            Ok(ack) => notebook.acked(id, sent, &ack),
            Err(error) => notebook.failed(id, &error),
        }
    }
    Err(error)
}

/// Appends in calls of their own, without a producer: each is tried once.
pub async fn append_alone(notebook: Notebook, number: usize, writing: Writing) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(writing.seed);
    sleep(writing.begin).await;
    let client = notebook.client(number).await;
    for _ in 0..writing.appends {
        let id = notebook.make(&writing.file, writing.len(&mut rng));
        let sent = notebook.sent(id);
        let options = AppendOnce { durability: writing.durability, ..AppendOnce::default() };
        let call = client.append_once(&writing.file, vec![notebook.data(id)], options);
        match timeout(Duration::from_millis(rng.random_range(1..4000)), call).await {
            Ok(Ok(ack)) => notebook.acked(id, sent, &ack),
            Ok(Err(error)) => notebook.failed(id, &error),
            Err(_) => {}
        }
        sleep(writing.pause(&mut rng)).await;
    }
    Ok(())
}

/// How often an append in a call of its own is tried before its producer gives up.
const TRIES: usize = 6;

/// Appends in calls of their own as a producer: the same one again until it is known what became of it.
pub async fn produce_once(notebook: Notebook, number: usize, writing: Writing) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(writing.seed);
    sleep(writing.begin).await;
    let client = notebook.client(number).await;
    for turn in 0..writing.appends {
        let id = notebook.numbered(&writing.file, &writing.producer, turn, writing.len(&mut rng));
        let mut is_acked = false;
        for _ in 0..TRIES {
            match try_once(&notebook, &client, &writing, (id, turn as u64 + 1), &mut rng).await {
                Ok(()) => is_acked = true,
                Err(true) => {
                    sleep(Duration::from_millis(rng.random_range(1..500))).await;
                    continue;
                }
                Err(false) => {}
            }
            break;
        }
        if !is_acked {
            return Ok(());
        }
        sleep(writing.pause(&mut rng)).await;
    }
    Ok(())
}

/// One call. If it fails: whether there is sense in another one.
async fn try_once(
    notebook: &Notebook,
    client: &Client,
    writing: &Writing,
    (id, seq): (AppendId, u64),
    rng: &mut SmallRng,
) -> Result<(), bool> {
    let Producer { id: name, epoch } = writing.producer.clone();
    let producer = Named::Named { id: name, epoch: Some(epoch) };
    let options = AppendOnce { producer, seq, durability: writing.durability, ..AppendOnce::default() };
    let sent = notebook.sent(id);
    let call = client.append_once(&writing.file, vec![notebook.data(id)], options);
    match timeout(Duration::from_millis(rng.random_range(1..4000)), call).await {
        Ok(Ok(ack)) => {
            notebook.acked(id, sent, &ack);
            Ok(())
        }
        Ok(Err(error)) => {
            notebook.failed(id, &error);
            Err(error.retryable())
        }
        Err(_) => Err(true),
    }
}
