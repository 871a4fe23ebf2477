//! Loads of which one number grows, each measured by `inkpot bench` with a server of its own.

use inkpot_tests::figures::{Bar, bench, short};
use std::{fmt, io};

/// A load with one number that grows.
pub struct Series {
    /// What grows.
    pub title: &'static str,
    /// Its flag.
    flag: &'static str,
    /// What it is in turn.
    pub values: &'static [usize],
    /// The rest of the load.
    load: Load,
}

#[derive(Clone, Copy)]
struct Load {
    record: usize,
    batch: usize,
    files: usize,
    producers: usize,
    connections: usize,
    tenants: usize,
}

/// Sixteen producers over four connections, as in the comparison with peers.
const USUAL: Load = Load { record: 1024, batch: 100, files: 100, producers: 16, connections: 4, tenants: 1 };
/// Of an append, at the most, in bytes.
const APPEND_BYTES: usize = 640 << 10;

impl Series {
    /// All of them.
    pub fn all() -> [Self; 4] {
        [
            Self { title: "Files", flag: "--files", values: &[1, 100, 10_000, 100_000], load: USUAL },
            Self { title: "Sessions", flag: "--producers", values: &[1, 16, 256, 2_000], load: USUAL },
            Self {
                title: "Record size",
                flag: "--record-size",
                values: &[10, 100, 1 << 10, 10 << 10, 100 << 10, 1 << 20],
                load: USUAL,
            },
            Self { title: "Tenants", flag: "--tenants", values: &[1, 10, 100], load: USUAL },
        ]
    }

    fn load(&self, value: usize) -> Load {
        let mut load = self.load;
        match self.flag {
            "--files" => load.files = value,
            // Each over a connection of its own: a session.
            "--producers" => (load.producers, load.connections, load.files) = (value, value, value.max(load.files)),
            "--record-size" => load.record = value,
            _ => (load.tenants, load.producers, load.connections) = (value, value.max(16), value.max(4)),
        }
        load.batch = load.batch.min((APPEND_BYTES / load.record).max(1));
        load
    }

    /// Measures it with that value, against the wire in the same run.
    pub fn measure(&self, value: usize, seconds: u32, repeats: u32) -> io::Result<Point> {
        let load = self.load(value);
        let mut args = vec!["--spawn".to_owned(), "--against".to_owned(), "wire,disk".to_owned()];
        let numbers = [
            ("--record-size", load.record),
            ("--batch", load.batch),
            ("--files", load.files),
            ("--producers", load.producers),
            ("--connections", load.connections),
            ("--tenants", load.tenants),
            ("--repeats", repeats as usize),
        ];
        args.extend(numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]));
        args.extend(["--duration".to_owned(), format!("{seconds}s")]);
        let report = bench(&args)?;
        let number = |key: &str| report.pointer(key).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        Ok(Point {
            value,
            records: number("/records_per_s"),
            mib: number("/mib_per_s"),
            wire: number("/ratio/wire"),
            disk: number("/ratio/disk"),
            p50: number("/ack_ms/p50"),
            p99: number("/ack_ms/p99"),
            cpu: number("/server/cpu_s_per_million"),
            rss: number("/server/rss_mib"),
        })
    }
}

/// What was measured with one value.
pub struct Point {
    value: usize,
    records: f64,
    mib: f64,
    wire: f64,
    disk: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    rss: f64,
}

impl Point {
    /// Above the lines.
    pub const HEAD: &str = "| | records/s | MiB/s | of wire | of disk | ack p50 | p99 | CPU s per million | RSS |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

    /// By bytes per second, which is what may be compared.
    pub fn bar(&self) -> Bar {
        let text = format!("{} records/s, {:.0} MiB/s, {:.2} of wire", short(self.records), self.mib, self.wire);
        Bar { label: short(self.value as f64), value: self.mib, text, is_ours: true }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, records, mib, wire, disk, p50, p99, cpu, rss } = self;
        write!(
            f,
            "| {value} | {} | {mib:.0} | {wire:.2} | {disk:.2} | {p50:.2} ms | {p99:.1} ms | {cpu:.2} | {rss:.0} MiB |",
            short(*records)
        )
    }
}
