//! The work, and the threads that have it done.

use std::{
    fmt, io,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Who produces at once, each over a connection of its own.
pub const PRODUCERS: usize = 16;
/// Batches of a producer that are on their way at once.
pub const IN_FLIGHT: usize = 4;
/// Time before the one that is measured.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// A kind of work.
#[derive(Clone, Debug)]
pub struct Work {
    /// Bytes of a record.
    pub record: usize,
    /// Records that are sent at once.
    pub batch: usize,
    /// Files, or what comes nearest to them.
    pub files: usize,
    /// Whether a record is on the disk when it is acknowledged.
    pub durable: bool,
    /// How long it is done.
    pub duration: Duration,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size =
            if self.record < 1024 { format!("{} B", self.record) } else { format!("{} KiB", self.record / 1024) };
        let files = if self.files == 1 { "1 file".to_owned() } else { format!("{} files", self.files) };
        write!(f, "{size} x {}, {files}", self.batch)
    }
}

/// All of it.
pub fn works(durable: bool, duration: Duration) -> Vec<Work> {
    let work = |record, batch, files| Work { record, batch, files, durable, duration };
    vec![work(100, 100, 1), work(1024, 100, 1), work(1024, 100, 100), work(1024, 100, 10_000), work(64 << 10, 10, 1)]
}

/// One producer's connection.
pub trait Producer: Send {
    /// Sends the records of a batch to a file.
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()>;

    /// Waits for the next acknowledgement; returns how many records it is for.
    fn acknowledged(&mut self) -> io::Result<usize>;
}

/// Lets all producers work; returns records per second.
pub fn run(work: &Work, connect: impl Fn(usize) -> io::Result<Box<dyn Producer>>) -> io::Result<f64> {
    let producers = (0..PRODUCERS).map(connect).collect::<io::Result<Vec<_>>>()?;
    let (begin, stop, records) = (Barrier::new(PRODUCERS + 1), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = producers
            .into_iter()
            .enumerate()
            .map(|(number, producer)| {
                let (begin, stop, records) = (&begin, &stop, &records);
                scope.spawn(move || {
                    begin.wait();
                    produce(work, number, producer, stop, records)
                })
            })
            .collect();
        begin.wait();
        thread::sleep(WARM_UP);
        let (started, before) = (Instant::now(), records.load(Ordering::Relaxed));
        thread::sleep(work.duration);
        let (after, took) = (records.load(Ordering::Relaxed), started.elapsed());
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| io::Error::other("a producer panicked"))??;
        }
        Ok((after - before) as f64 / took.as_secs_f64())
    })
}

fn produce(
    work: &Work,
    number: usize,
    mut producer: Box<dyn Producer>,
    stop: &AtomicBool,
    records: &AtomicU64,
) -> io::Result<()> {
    // A line of text, as a log has it.
    let record: Vec<u8> = b"abcdefghijklmnopqrstuvwxyz 0123456789 ".iter().copied().cycle().take(work.record).collect();
    let batch = vec![&record[..]; work.batch];
    let mut in_flight = 0;
    for file in (number..).step_by(PRODUCERS) {
        while in_flight + work.batch > IN_FLIGHT * work.batch {
            let acknowledged = producer.acknowledged()?;
            records.fetch_add(acknowledged as u64, Ordering::Relaxed);
            in_flight -= acknowledged;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        producer.send(file % work.files, &batch)?;
        in_flight += work.batch;
    }
    Ok(())
}
