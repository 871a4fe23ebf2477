//! Figures of runs: medians over repeats, how far the repeats lie apart, and ratios to the references. A ratio is taken
//! within each pair of neighbouring runs before the median: what disturbs the machine disturbs both.

use super::{
    super::output::level_name,
    disk,
    load::{Load, Seen},
};
use hdrhistogram::Histogram;
use inkpot_proto::v1::Durability;
use serde::{Serialize, Serializer};
use std::fmt;

/// The figures of one run, or their medians over several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) records_per_s: f64,
    pub(super) mib_per_s: f64,
    pub(super) ack_ms: Times,
    /// The lowest of any ack; absent if there was none.
    #[serde(serialize_with = "as_name")]
    pub(super) level: Option<Durability>,
    /// Absent if neither the server's process nor its metrics are ours to see.
    pub(super) server: Option<ServerFigures>,
}

fn as_name<S: Serializer>(level: &Option<Durability>, serializer: S) -> Result<S::Ok, S::Error> {
    level.map(level_name).serialize(serializer)
}

/// Quantiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Times {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Times {
    fn of(micros: &Histogram<u64>) -> Self {
        let millis = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
        Self { p50: millis(0.5), p99: millis(0.99), p999: millis(0.999), max: millis(1.0) }
    }

    fn medians(runs: impl Iterator<Item = Self> + Clone) -> Option<Self> {
        let of = |figure: fn(Self) -> f64| median(runs.clone().map(figure));
        Some(Self { p50: of(|t| t.p50)?, p99: of(|t| t.p99)?, p999: of(|t| t.p999)?, max: of(|t| t.max)? })
    }
}

/// What the server used, and how it committed; absent where it is not ours to see.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct ServerFigures {
    /// CPU seconds for a million records.
    cpu_s_per_million: Option<f64>,
    /// Resident memory at the end, in MiB.
    rss_mib: Option<f64>,
    /// Syncs of its logs.
    syncs_per_s: Option<f64>,
    /// Appends that a commit acknowledged, on average.
    appends_per_commit: Option<f64>,
}

impl From<&Seen> for Figures {
    fn from(seen: &Seen) -> Self {
        let seconds = seen.elapsed.as_secs_f64();
        let is_seen = seen.cost.is_some() || seen.counts.is_some();
        Self {
            records_per_s: seen.records as f64 / seconds,
            mib_per_s: seen.bytes as f64 / seconds / f64::from(1 << 20),
            ack_ms: Times::of(&seen.ack_micros),
            level: seen.level,
            server: is_seen.then(|| ServerFigures {
                cpu_s_per_million: seen.cost.map(|cost| cost.cpu_seconds * 1e6 / (seen.records as f64).max(1.0)),
                rss_mib: seen.cost.map(|cost| cost.rss_mib),
                syncs_per_s: seen.counts.map(|counts| counts.syncs / seconds),
                appends_per_commit: seen.counts.map(|counts| counts.appends / counts.commits.max(1.0)),
            }),
        }
    }
}

impl Figures {
    /// Each figure's own median; the lowest level. Nothing of no runs.
    fn medians(runs: &[Self]) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        let servers: Vec<ServerFigures> = runs.iter().filter_map(|run| run.server).collect();
        let of_server = |figure: fn(&ServerFigures) -> Option<f64>| median(servers.iter().filter_map(figure));
        Some(Self {
            records_per_s: of(|run| run.records_per_s)?,
            mib_per_s: of(|run| run.mib_per_s)?,
            ack_ms: Times::medians(runs.iter().map(|run| run.ack_ms))?,
            level: runs.iter().filter_map(|run| run.level).min(),
            server: (!servers.is_empty()).then(|| ServerFigures {
                cpu_s_per_million: of_server(|server| server.cpu_s_per_million),
                rss_mib: of_server(|server| server.rss_mib),
                syncs_per_s: of_server(|server| server.syncs_per_s),
                appends_per_commit: of_server(|server| server.appends_per_commit),
            }),
        })
    }
}

/// What the disk gave in a run, or the medians over several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct DiskFigures {
    /// As many records as the bytes would be.
    pub(super) records_per_s: f64,
    pub(super) mib_per_s: f64,
    /// The size of a commit that was best, in KiB.
    pub(super) commit_kib: f64,
    /// Times of durable writes of 4 KiB.
    pub(super) write_4kib_ms: Times,
}

impl DiskFigures {
    pub(super) fn new(seen: &disk::Seen, load: &Load) -> Self {
        Self {
            records_per_s: seen.bytes_per_s / load.record_size as f64,
            mib_per_s: seen.bytes_per_s / f64::from(1 << 20),
            commit_kib: seen.commit_bytes as f64 / 1024.0,
            write_4kib_ms: Times::of(&seen.small_micros),
        }
    }

    fn medians(runs: &[Self]) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        Some(Self {
            records_per_s: of(|run| run.records_per_s)?,
            mib_per_s: of(|run| run.mib_per_s)?,
            commit_kib: of(|run| run.commit_kib)?,
            write_4kib_ms: Times::medians(runs.iter().map(|run| run.write_4kib_ms))?,
        })
    }
}

/// The runs, in the order in which they were made: each followed by the references that were asked for.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) inkpot: Vec<Figures>,
    pub(super) wire: Vec<Figures>,
    pub(super) disk: Vec<DiskFigures>,
}

impl Runs {
    fn ratios_to_wire(&self) -> Vec<f64> {
        let pairs = self.inkpot.iter().zip(&self.wire);
        pairs.map(|(run, wire)| run.records_per_s / wire.records_per_s).collect()
    }

    fn ratios_to_disk(&self) -> Vec<f64> {
        let pairs = self.inkpot.iter().zip(&self.disk);
        pairs.map(|(run, disk)| run.records_per_s / disk.records_per_s).collect()
    }

    /// To the lower of the two references of each repeat.
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.ratios_to_wire().into_iter().zip(self.ratios_to_disk());
        pairs.map(|(wire, disk)| wire.max(disk)).collect()
    }
}

/// Ratio of our records/s to those of a reference in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Ratios {
    wire: Option<f64>,
    disk: Option<f64>,
    /// To the lower one of both, if both were measured.
    reference: Option<f64>,
}

/// (largest - smallest) / median over the repeats: figures that lie further apart than that say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    records_per_s: f64,
    ack_p50: f64,
    ack_p99: f64,
    ratio_wire: Option<f64>,
    ratio_disk: Option<f64>,
    ratio_reference: Option<f64>,
}

/// The answer of the bench.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    /// What was sent.
    load: Load,
    #[serde(flatten)]
    figures: Figures,
    ratio: Ratios,
    spread: Spread,
    repeats: usize,
    /// The references themselves, if they were measured.
    wire: Option<Figures>,
    disk: Option<DiskFigures>,
}

impl Report {
    /// Nothing of no runs.
    pub(super) fn new(load: &Load, runs: &Runs) -> Option<Self> {
        let (wire, disk, reference) = (runs.ratios_to_wire(), runs.ratios_to_disk(), runs.ratios());
        let of = |figure: fn(&Figures) -> f64| spread(runs.inkpot.iter().map(figure));
        Some(Self {
            load: load.clone(),
            figures: Figures::medians(&runs.inkpot)?,
            spread: Spread {
                records_per_s: of(|run| run.records_per_s)?,
                ack_p50: of(|run| run.ack_ms.p50)?,
                ack_p99: of(|run| run.ack_ms.p99)?,
                ratio_wire: spread(wire.iter().copied()),
                ratio_disk: spread(disk.iter().copied()),
                ratio_reference: spread(reference.iter().copied()),
            },
            ratio: Ratios {
                wire: median(wire.into_iter()),
                disk: median(disk.into_iter()),
                reference: median(reference.into_iter()),
            },
            repeats: runs.inkpot.len(),
            wire: Figures::medians(&runs.wire),
            disk: DiskFigures::medians(&runs.disk),
        })
    }
}

/// The middle value; of an even number the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn spread(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    let middle = median(values.iter().copied())?;
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    Some(if middle == 0.0 { 0.0 } else { (largest - smallest) / middle })
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999, max } = self;
        write!(f, "ms p50 {p50:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {max:.3}")
    }
}

impl fmt::Display for ServerFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        said.extend(self.cpu_s_per_million.map(|figure| format!("{figure:.2} CPU s per million records")));
        said.extend(self.rss_mib.map(|figure| format!("{figure:.0} MiB")));
        said.extend(self.syncs_per_s.map(|figure| format!("{figure:.0} syncs/s")));
        said.extend(self.appends_per_commit.map(|figure| format!("{figure:.1} appends per commit")));
        write!(f, "server {}", said.join(", "))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} records/s, {:.1} MiB/s; ack {}", self.records_per_s, self.mib_per_s, self.ack_ms)?;
        if let Some(level) = self.level {
            write!(f, "; {}", level_name(level))?;
        }
        self.server.map_or(Ok(()), |server| write!(f, "; {server}"))
    }
}

impl fmt::Display for DiskFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} records/s, {:.1} MiB/s in commits of {:.0} KiB",
            self.records_per_s, self.mib_per_s, self.commit_kib
        )?;
        write!(f, "; 4 KiB {}", self.write_4kib_ms)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inkpot  {}", self.figures)?;
        if let Some(wire) = &self.wire {
            write!(f, "\nwire    {wire}")?;
        }
        if let Some(disk) = &self.disk {
            write!(f, "\ndisk    {disk}")?;
        }
        let ratios = [
            ("wire", self.ratio.wire, self.spread.ratio_wire),
            ("disk", self.ratio.disk, self.spread.ratio_disk),
            ("lower of both", self.ratio.reference, self.spread.ratio_reference),
        ];
        for (of, ratio, spread) in ratios {
            if let (Some(ratio), Some(spread)) = (ratio, spread) {
                write!(f, "\nratio   {ratio:.3} of the {of} (spread {spread:.2})")?;
            }
        }
        write!(f, "\nmedians of {}; spread of records/s {:.2}", self.repeats, self.spread.records_per_s)
    }
}

#[cfg(test)]
mod tests;
