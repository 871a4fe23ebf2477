//! Uploads while the server is killed (SIGKILL) at random moments, 20 times over: each is taken up again where it was,
//! nothing of it is seen before it is finished, all of it afterwards, and nothing stays in staging.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    Finish, FinishAction, Open, Opened, WriteRequest, write_request::Frame as Ask, write_response::Frame as Say,
};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        files::{assert_content, list, plain_files, staged_files},
        session::{Client, append, finish},
        upload::{bytes, create_as, replace_as},
        wait,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const KILLS: usize = 20;
const CLIENTS: usize = 4;
const UPLOADS_EACH: usize = 6;
const CHUNKS: usize = 40;
/// Chunks that may wait for their ack.
const WINDOW: usize = 8;
/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);

/// What a client sends, and what it knows of that.
struct Upload {
    path: String,
    plain: PathBuf,
    content: Vec<u8>,
    chunks: Vec<Range<usize>>,
    replaces: bool,
    /// Bytes that were acked: they must never be fewer again.
    acked: usize,
    /// From here on it may be published.
    finish_sent: bool,
}

impl Upload {
    /// The same path again replaces what was there.
    fn new(server: &Server, client: usize, number: usize) -> Self {
        let path = format!("client-{client}/upload-{}", number / 2);
        let seed = client * 100 + number;
        let mut random = StdRng::seed_from_u64(seed as u64);
        let mut end = 0;
        let chunks = (0..CHUNKS)
            .map(|_| {
                let begin = end;
                end += random.random_range(1..64 << 10);
                begin..end
            })
            .collect();
        let content = bytes(seed as u64, end);
        let plain = server.plain(&path);
        Self { path, plain, content, chunks, replaces: number % 2 == 1, acked: 0, finish_sent: false }
    }

    fn open(&self) -> Open {
        if self.replaces { replace_as(1, &self.path, "p", 2) } else { create_as(1, &self.path, "p", 1) }
    }

    fn finish(&self) -> Finish {
        let (size, crc32c) = (Some(self.content.len() as u64), Some(crc32c::crc32c(&self.content)));
        Finish { size, crc32c, ..finish(1, FinishAction::Commit) }
    }

    /// Nothing of it may be where its file will be.
    fn check_invisible(&self) {
        let found = std::fs::read(&self.plain).ok();
        assert!(found.as_deref() != Some(&self.content[..]), "{} is there before its Finish", self.path);
        assert_eq!(found.is_some(), self.replaces, "{}", self.path);
    }

    /// How many chunks are kept, as `Opened` tells it.
    fn resume(&self, opened: &Opened) -> usize {
        assert!(opened.upload, "{opened:?}");
        assert!(!opened.published || self.finish_sent, "it is published without a Finish: {opened:?}");
        let (seq, offset) = (usize::try_from(opened.last_seq).unwrap(), usize::try_from(opened.next_offset).unwrap());
        assert_eq!(offset, if seq == 0 { 0 } else { self.chunks[seq - 1].end }, "{opened:?}");
        assert!(offset >= self.acked, "{} bytes were acked, {offset} are kept", self.acked);
        seq
    }

    /// Goes on with it over one session. `Err` tells why that one ended.
    async fn attempt(&mut self, client: Client, acked: &AtomicUsize) -> Result<(), String> {
        let mut session = RawSession::start(client).await.map_err(|status| status.to_string())?;
        ask(&mut session, Ask::Open(self.open())).await?;
        let mut taken = match next(&mut session).await? {
            Say::Opened(opened) => self.resume(&opened),
            other => return Err(format!("{other:?} instead of Opened")),
        };
        let mut sent = taken;
        while taken < CHUNKS {
            while sent < CHUNKS && sent < taken + WINDOW {
                let chunk = self.content[self.chunks[sent].clone()].to_vec();
                sent += 1;
                ask(&mut session, Ask::Append(append(1, sent as u64, chunk))).await?;
            }
            match next(&mut session).await? {
                Say::Ack(ack) => {
                    taken = usize::try_from(ack.through_seq).unwrap();
                    let end = self.chunks[taken - 1].end;
                    acked.fetch_add(end.saturating_sub(self.acked), Ordering::Relaxed);
                    self.acked = self.acked.max(end);
                }
                other => return Err(format!("{other:?} instead of an ack")),
            }
        }
        if !self.finish_sent {
            self.check_invisible();
        }
        self.finish_sent = true;
        ask(&mut session, Ask::Finish(self.finish())).await?;
        match next(&mut session).await? {
            Say::Finished(finished) => {
                let expected = self.finish();
                assert_eq!((Some(finished.size), Some(finished.crc32c)), (expected.size, expected.crc32c));
                assert!(finished.generation > 0);
                Ok(())
            }
            other => Err(format!("{other:?} instead of Finished")),
        }
    }
}

async fn ask(session: &mut RawSession, frame: Ask) -> Result<(), String> {
    session.try_send(WriteRequest { frame: Some(frame) }, BOUND).await
}

async fn next(session: &mut RawSession) -> Result<Say, String> {
    match session.next_within(BOUND).await {
        Some(Ok(Some(frame))) => Ok(frame),
        ended => Err(format!("the session ended: {ended:?}")),
    }
}

/// Sends these one after the other. Returns on how many sessions.
async fn send(client: Client, mut uploads: Vec<Upload>, acked: Arc<AtomicUsize>) -> (Vec<Upload>, usize) {
    let mut sessions = 0;
    for upload in &mut uploads {
        let deadline = Instant::now() + BOUND;
        while let Err(why) = {
            sessions += 1;
            upload.attempt(client.clone(), &acked).await
        } {
            assert!(Instant::now() < deadline, "{} does not get through: {why}", upload.path);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    (uploads, sessions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_whole_or_resumed_through_20_kills() {
    // Small segments and frequent checkpoints, so that kills also fall into rolling, recycling and checkpointing.
    let mut server = Server::start(Setup::default().config(
        "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"64MiB\"\n[checkpoint]\nwal_bytes = \"256KiB\"\ninterval = \"50ms\"",
    ));
    let acked = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    let mut total = 0;
    for client in 0..CLIENTS {
        let uploads: Vec<_> = (0..UPLOADS_EACH).map(|number| Upload::new(&server, client, number)).collect();
        total += uploads.iter().map(|upload| upload.content.len()).sum::<usize>();
        tasks.push(tokio::spawn(send(server.client(), uploads, Arc::clone(&acked))));
    }
    let mut random = StdRng::seed_from_u64(11);
    for kill in 0..KILLS {
        let until = total * kill / KILLS + random.random_range(0..total / KILLS / 2);
        wait::until(&format!("bytes before kill {kill}"), BOUND, || acked.load(Ordering::Relaxed) >= until).await;
        tokio::task::block_in_place(|| server.restart());
    }
    let (mut expected, mut sessions) = (Vec::new(), 0);
    for task in tasks {
        let (uploads, used) = task.await.unwrap();
        expected.extend(uploads.into_iter().filter(|upload| upload.replaces));
        sessions += used;
    }
    let more = sessions - CLIENTS * UPLOADS_EACH;
    println!("{total} bytes, {sessions} sessions, {more} of them to resume");
    assert!(more > KILLS / 2, "the kills were hardly noticed: {more} sessions more than uploads");
    assert!(server.terminate().success());
    server.restart();
    for upload in &expected {
        assert_content(&server, &upload.path, &upload.content).await;
    }
    let mut paths: Vec<_> = expected.into_iter().map(|upload| upload.path).collect();
    paths.sort();
    assert_eq!(list(&server).await, paths);
    assert_eq!(plain_files(&server).len(), paths.len());
    assert_eq!(staged_files(&server), [] as [PathBuf; 0], "staging after the last checkpoint and a restart");
}
