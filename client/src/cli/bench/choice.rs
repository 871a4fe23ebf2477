//! Which of its files a producer writes to next.

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// In turn, or the first ones more often than the later ones.
#[derive(Debug)]
pub(super) enum Choice {
    /// Each in its turn.
    InTurn {
        /// How many there are.
        files: usize,
        /// The one whose turn it is.
        next: usize,
    },
    /// By Zipf's law: the n-th with a weight of 1 / n^exponent.
    Skewed {
        /// Sums of the weights up to each file.
        sums: Vec<f64>,
        /// The same for each run, so that runs can be compared.
        random: SmallRng,
    },
}

impl Choice {
    /// Among so many files, for the producer of that number.
    pub(super) fn new(files: usize, skew: Option<f64>, producer: usize) -> Self {
        let Some(exponent) = skew else { return Self::InTurn { files, next: 0 } };
        let mut sum = 0.0;
        let weights = (1..=files).map(|rank| (rank as f64).powf(-exponent));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self::Skewed { sums: sums.collect(), random: SmallRng::seed_from_u64(producer as u64) }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> usize {
        match self {
            Self::InTurn { files, next } => {
                let chosen = *next;
                *next = (chosen + 1) % *files;
                chosen
            }
            Self::Skewed { sums, random } => {
                let all = sums.last().copied().unwrap_or_default();
                let point = random.random::<f64>() * all;
                sums.partition_point(|sum| *sum <= point).min(sums.len() - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests;
