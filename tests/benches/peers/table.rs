//! What was measured, as a table in Markdown and for a picture.

use super::{Peer, load::Work};
use inkpot_tests::figures::{Bar, Column, Panel, short};
use std::fmt;

/// A peer's rates.
pub struct Row<'a> {
    /// Whose.
    pub peer: &'a dyn Peer,
    /// Records per second of each work, of each repeat.
    rates: Vec<Vec<f64>>,
}

impl<'a> Row<'a> {
    /// Without any rate yet.
    pub fn new(peer: &'a dyn Peer, works: usize) -> Self {
        Self { peer, rates: vec![Vec::new(); works] }
    }

    /// Notes a rate of that work.
    pub fn note(&mut self, work: usize, rate: f64) {
        self.rates[work].push(rate);
    }

    /// The median of that work.
    pub fn rate(&self, work: usize) -> f64 {
        let mut rates = self.rates[work].clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }
}

/// The rows, of which the first is Inkpot's unless it was not asked for.
pub struct Table<'a> {
    /// Whether a record is on the disk when it is acknowledged.
    pub durable: bool,
    /// The columns.
    pub works: Vec<Work>,
    /// The lines.
    pub rows: Vec<Row<'a>>,
}

impl Table<'_> {
    fn title(&self) -> &'static str {
        if self.durable { "on the disk when acknowledged" } else { "not durable" }
    }

    /// A panel for each work, a bar for each peer.
    pub fn column(&self) -> Column {
        let bar = |row: &Row<'_>, work| {
            let (label, rate) = (row.peer.name().to_owned(), row.rate(work));
            Bar { is_ours: label == "Inkpot", label, value: rate, text: short(rate) }
        };
        let panel = |(number, work): (usize, &Work)| Panel {
            title: work.to_string(),
            bars: self.rows.iter().map(|row| bar(row, number)).collect(),
        };
        let title = format!("Records/s, {}", self.title());
        Column { title, panels: self.works.iter().enumerate().map(panel).collect() }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| records/s, {} |", self.title())?;
        self.works.iter().try_for_each(|work| write!(f, " {work} |"))?;
        write!(f, "\n| --- |{}", " --- |".repeat(self.works.len()))?;
        for row in &self.rows {
            write!(f, "\n| {} |", row.peer.name())?;
            for work in 0..self.works.len() {
                write!(f, " {}", short(row.rate(work)))?;
                if row.peer.name() != self.rows[0].peer.name() {
                    write!(f, " ({:.1}x)", self.rows[0].rate(work) / row.rate(work))?;
                }
                write!(f, " |")?;
            }
        }
        writeln!(f)
    }
}
