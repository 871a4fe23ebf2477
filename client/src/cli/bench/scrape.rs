//! How the server commits, from its Prometheus endpoint.

use super::super::failure::Failure;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long the endpoint may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// Counts since the server began, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Syncs of the log.
    pub(super) syncs: f64,
    /// Commits that acknowledged appends.
    pub(super) commits: f64,
    /// Appends that they acknowledged.
    pub(super) appends: f64,
}

impl Counts {
    /// What was counted since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            syncs: self.syncs - before.syncs,
            commits: self.commits - before.commits,
            appends: self.appends - before.appends,
        }
    }
}

/// Asks the endpoint.
///
/// # Errors
/// It does not answer, or with something else.
pub(super) async fn counts(endpoint: SocketAddr) -> Result<Counts, Failure> {
    let failed = |error: std::io::Error| Failure::error(format_args!("cannot read the metrics at {endpoint}"), error);
    let answer = timeout(ANSWER_WITHIN, get(endpoint)).await.unwrap_or_else(|late| Err(late.into())).map_err(failed)?;
    parse(&answer).ok_or_else(|| failed(std::io::Error::other("they are not those of an inkpot server")))
}

/// HTTP/1.0, so that the answer ends with the connection and comes in one piece.
async fn get(endpoint: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &str) -> Option<Counts> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.split(' ').nth(1).filter(|status| *status == "200")?;
    body.contains("inkpot_").then(|| Counts {
        syncs: sum(body, "inkpot_wal_sync_duration_seconds_count"),
        commits: sum(body, "inkpot_commit_appends_count"),
        appends: sum(body, "inkpot_commit_appends_sum"),
    })
}

/// The sum of a series over its labels; 0 if there is none yet.
fn sum(body: &str, name: &str) -> f64 {
    let values = body.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests;
