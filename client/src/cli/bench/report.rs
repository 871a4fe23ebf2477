//! Figures of runs: medians over repeats, how far the repeats lie apart, and ratios to the reference. A ratio is taken
//! within each pair of neighbouring runs before the median: what disturbs the machine disturbs both.

use super::{
    super::output::level_name,
    load::{Load, Seen},
};
use inkpot_proto::v1::Durability;
use serde::{Serialize, Serializer};
use std::fmt;

/// The figures of one run, or their medians over several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) records_per_s: f64,
    pub(super) mib_per_s: f64,
    pub(super) ack_ms: AckTimes,
    /// The lowest of any ack; absent if there was none.
    #[serde(serialize_with = "as_name")]
    pub(super) level: Option<Durability>,
    /// Absent if the server's process is not ours to see.
    pub(super) server: Option<ServerFigures>,
}

fn as_name<S: Serializer>(level: &Option<Durability>, serializer: S) -> Result<S::Ok, S::Error> {
    level.map(level_name).serialize(serializer)
}

/// Time from handing an append to the library to its ack, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct AckTimes {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// What the server used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct ServerFigures {
    /// CPU seconds for a million records.
    cpu_s_per_million: f64,
    /// Resident memory at the end, in MiB.
    rss_mib: f64,
}

impl From<&Seen> for Figures {
    fn from(seen: &Seen) -> Self {
        let seconds = seen.elapsed.as_secs_f64();
        let millis = |quantile| seen.ack_micros.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            records_per_s: seen.records as f64 / seconds,
            mib_per_s: seen.bytes as f64 / seconds / f64::from(1 << 20),
            ack_ms: AckTimes { p50: millis(0.5), p99: millis(0.99), p999: millis(0.999), max: millis(1.0) },
            level: seen.level,
            server: seen.cost.map(|cost| ServerFigures {
                cpu_s_per_million: cost.cpu_seconds * 1e6 / (seen.records as f64).max(1.0),
                rss_mib: cost.rss_mib,
            }),
        }
    }
}

impl Figures {
    /// Each figure's own median; the lowest level. Nothing of no runs.
    fn medians(runs: &[Self]) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        let servers: Vec<ServerFigures> = runs.iter().filter_map(|run| run.server).collect();
        let of_server = |figure: fn(&ServerFigures) -> f64| median(servers.iter().map(figure));
        let server = of_server(|s| s.cpu_s_per_million).zip(of_server(|s| s.rss_mib));
        Some(Self {
            records_per_s: of(|run| run.records_per_s)?,
            mib_per_s: of(|run| run.mib_per_s)?,
            ack_ms: AckTimes {
                p50: of(|run| run.ack_ms.p50)?,
                p99: of(|run| run.ack_ms.p99)?,
                p999: of(|run| run.ack_ms.p999)?,
                max: of(|run| run.ack_ms.max)?,
            },
            level: runs.iter().filter_map(|run| run.level).min(),
            server: server.map(|(cpu_s_per_million, rss_mib)| ServerFigures { cpu_s_per_million, rss_mib }),
        })
    }
}

/// Ratio of our records/s to those of a reference in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Ratios {
    wire: Option<f64>,
}

/// (largest - smallest) / median over the repeats: figures that lie further apart than that say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    records_per_s: f64,
    ratio_wire: Option<f64>,
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
    /// The reference itself, if there was one.
    wire: Option<Figures>,
}

impl Report {
    /// Of the runs, and of those against the reference that followed each of them (or none). Nothing of no runs.
    pub(super) fn new(load: &Load, runs: &[Figures], wire: &[Figures]) -> Option<Self> {
        let ratios: Vec<f64> =
            runs.iter().zip(wire).map(|(run, wire)| run.records_per_s / wire.records_per_s).collect();
        Some(Self {
            load: load.clone(),
            figures: Figures::medians(runs)?,
            ratio: Ratios { wire: median(ratios.iter().copied()) },
            spread: Spread {
                records_per_s: spread(runs.iter().map(|run| run.records_per_s))?,
                ratio_wire: spread(ratios.into_iter()),
            },
            repeats: runs.len(),
            wire: Figures::medians(wire),
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

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AckTimes { p50, p99, p999, max } = self.ack_ms;
        write!(f, "{:.0} records/s, {:.1} MiB/s", self.records_per_s, self.mib_per_s)?;
        write!(f, "; ack ms p50 {p50:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {max:.3}")?;
        if let Some(level) = self.level {
            write!(f, "; {}", level_name(level))?;
        }
        match self.server {
            Some(ServerFigures { cpu_s_per_million, rss_mib }) => {
                write!(f, "; server {cpu_s_per_million:.2} CPU s per million records, {rss_mib:.0} MiB")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inkpot  {}", self.figures)?;
        if let (Some(wire), Some(ratio)) = (&self.wire, self.ratio.wire) {
            write!(f, "\nwire    {wire}\nratio   {ratio:.3} of the wire")?;
            if let Some(spread) = self.spread.ratio_wire {
                write!(f, " (spread {spread:.2})")?;
            }
        }
        write!(f, "\nmedians of {}; spread of records/s {:.2}", self.repeats, self.spread.records_per_s)
    }
}

#[cfg(test)]
mod tests;
