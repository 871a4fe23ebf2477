//! The end of the demo: per file what was sent, acked and found, and whether it is the same.

use super::{
    super::{
        failure::{Exit, Failure},
        output::{self, Format},
    },
    stream::Piece,
    verify::{self, Content, Placed, Tiled},
};
use futures_util::StreamExt;
use inkpot_client::{Files, ReadOptions};
use serde::Serialize;
use std::{path::Path, pin::pin};

/// A file in the end. Digests are SHA-256 in hexadecimal.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    path: String,
    records_sent: u64,
    records_acked: u64,
    /// Bytes that the acks describe.
    bytes: u64,
    sha256_sent: Option<String>,
    /// Of the plain file, read without the server.
    sha256_file: String,
    /// Of what the server's Read gives.
    sha256_read: String,
    equal: bool,
    /// What is wrong with the acks, if they do not tile the file.
    fault: Option<String>,
}

impl FileReport {
    /// Puts the acked appends together and compares them with the file, by both ways of reading it.
    pub(super) async fn compare(files: &Files, path: &str, plain: &Path, placed: Vec<Placed>) -> Result<Self, Failure> {
        // A share of a short text can be empty; then there is no file.
        let (read, on_disk) = if placed.is_empty() {
            Default::default()
        } else {
            (read(files, path).await?, Content::of_file(plain).map_err(|e| Failure::error(plain.display(), e))?)
        };
        let records_acked = placed.iter().map(|append| append.records.len() as u64).sum();
        let (sent, fault) = match verify::tile(placed) {
            Ok(tiled) => (Some(tiled), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        let (read, on_disk) = (read.finish(), on_disk.finish());
        let same = |tiled: &Tiled| [&read, &on_disk].iter().all(|(n, sum)| *n == tiled.bytes && *sum == tiled.sha256);
        Ok(Self {
            path: path.to_owned(),
            records_sent: 0,
            records_acked,
            bytes: sent.as_ref().map_or(0, |tiled| tiled.bytes),
            equal: sent.as_ref().is_some_and(same),
            sha256_sent: sent.map(|tiled| tiled.sha256),
            sha256_file: on_disk.1,
            sha256_read: read.1,
            fault,
        })
    }

    fn line(&self) -> String {
        let Self { path, records_sent, records_acked, bytes, .. } = self;
        let verdict = if self.equal { "equal" } else { "NOT EQUAL" };
        let sent = self.sha256_sent.as_deref().unwrap_or("unknown");
        let fault = self.fault.as_ref().map(|fault| format!("\n  acks   {fault}")).unwrap_or_default();
        format!(
            "{path}: {records_sent} records sent, {records_acked} acked, {bytes} bytes: {verdict}\n  sent   {sent}\n  \
             file   {}\n  read   {}{fault}",
            self.sha256_file, self.sha256_read
        )
    }
}

async fn read(files: &Files, path: &str) -> Result<Content, Failure> {
    let mut content = Content::default();
    let mut pieces = pin!(files.read(path, ReadOptions::default()));
    while let Some(piece) = pieces.next().await {
        content.push(&piece.map_err(|error| Failure::reading(path, &error))?.data);
    }
    Ok(content)
}

/// Enters what was to be sent, from the plan and not from the acks: a file that lacks some of it is not equal.
pub(super) fn count_sent(reports: &mut [FileReport], shares: &[Vec<Piece>]) {
    for piece in shares.iter().flatten() {
        reports[piece.file].records_sent += piece.records.len() as u64;
    }
    for report in reports {
        report.equal &= report.records_sent == report.records_acked;
    }
}

/// Shows the files; the exit status says whether all are equal.
pub(super) fn show(format: Format, reports: &[FileReport]) -> Result<Exit, Failure> {
    let equal = reports.iter().all(|report| report.equal);
    match format {
        Format::Json => output::emit_json(&serde_json::json!({ "files": reports, "equal": equal }))?,
        Format::Text => {
            for report in reports {
                output::emit_line(report.line())?;
            }
            let records: u64 = reports.iter().map(|report| report.records_acked).sum();
            let verdict = if equal { "all equal: nothing lost, nothing twice" } else { "NOT ALL EQUAL" };
            output::emit_line(format_args!("{} files, {records} records: {verdict}", reports.len()))?;
        }
    }
    Ok(if equal { Exit::Done } else { Exit::Error })
}
