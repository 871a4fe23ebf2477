//! Inkpot itself: `inkpot bench` with a server of its own, over gRPC, with plain files.

use super::{
    Peer,
    load::{IN_FLIGHT, PRODUCERS, WARM_UP, Work},
};
use inkpot_tests::figures::bench;
use std::io;

/// See the module.
pub struct Inkpot;

impl Peer for Inkpot {
    fn name(&self) -> &'static str {
        "Inkpot"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        Some(if durable { "its defaults; acknowledged as SYNCED" } else { "its defaults; acknowledged as WRITTEN" })
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let mut args = vec!["--spawn".to_owned()];
        let numbers = [
            ("--record-size", work.record),
            ("--batch", work.batch),
            ("--files", work.files),
            ("--producers", PRODUCERS),
            ("--connections", 4),
            ("--window", IN_FLIGHT),
            ("--repeats", 1),
        ];
        args.extend(numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]));
        let times = [("--duration", work.duration), ("--warmup", WARM_UP)];
        args.extend(times.into_iter().flat_map(|(flag, time)| [flag.to_owned(), format!("{}ms", time.as_millis())]));
        args.extend(["--durability", if work.durable { "synced" } else { "written" }].map(str::to_owned));
        let report = bench(&args)?;
        report["records_per_s"].as_f64().ok_or_else(|| io::Error::other(format!("no rate in {report}")))
    }
}
