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
use inkpot_client::{Error, Files, ReadOptions};
use serde::Serialize;
use std::{fmt::Display, path::Path, pin::pin};

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
    sha256_file: Option<String>,
    /// Of what the server's Read gives.
    sha256_read: Option<String>,
    equal: bool,
    /// Why a digest is unknown.
    fault: Option<String>,
}

impl FileReport {
    /// Puts the acked appends together and compares them with the file, by both ways of reading it. What cannot be
    /// read is not equal.
    pub(super) async fn compare(files: &Files, path: &str, plain: &Path, placed: Vec<Placed>) -> Self {
        // A share of a short text can be empty; then there is no file.
        let (on_disk, read) = if placed.is_empty() {
            (Ok(Content::default()), Ok(Content::default()))
        } else {
            (Content::of_file(plain), read(files, path).await)
        };
        let records_acked = placed.iter().map(|append| append.records.len() as u64).sum();
        let mut faults = Vec::new();
        let sent = known("acks", verify::tile(placed), &mut faults);
        let on_disk = known("plain file", on_disk, &mut faults).map(Content::finish);
        let read = known("Read", read, &mut faults).map(Content::finish);
        let same = |found: &Option<(u64, String)>, sent: &Tiled| {
            found.as_ref().is_some_and(|(bytes, sha256)| *bytes == sent.bytes && *sha256 == sent.sha256)
        };
        Self {
            path: path.to_owned(),
            records_sent: 0,
            records_acked,
            bytes: sent.as_ref().map_or(0, |sent| sent.bytes),
            equal: sent.as_ref().is_some_and(|sent| same(&on_disk, sent) && same(&read, sent)),
            sha256_sent: sent.map(|sent| sent.sha256),
            sha256_file: on_disk.map(|(_, sha256)| sha256),
            sha256_read: read.map(|(_, sha256)| sha256),
            fault: (!faults.is_empty()).then(|| faults.join("; ")),
        }
    }

    fn line(&self) -> String {
        let Self { path, records_sent, records_acked, bytes, .. } = self;
        let verdict = if self.equal { "equal" } else { "NOT EQUAL" };
        let [sent, file, read] = [&self.sha256_sent, &self.sha256_file, &self.sha256_read]
            .map(|sha256| sha256.as_deref().unwrap_or("unknown"));
        let fault = self.fault.as_ref().map(|fault| format!("\n  fault  {fault}")).unwrap_or_default();
        format!(
            "{path}: {records_sent} records sent, {records_acked} acked, {bytes} bytes: {verdict}\n  sent   {sent}\n  \
             file   {file}\n  read   {read}{fault}"
        )
    }
}

/// What was found out, or nothing and one fault more.
fn known<T, E: Display>(source: &str, found: Result<T, E>, faults: &mut Vec<String>) -> Option<T> {
    found.map_err(|error| faults.push(format!("{source}: {error}"))).ok()
}

async fn read(files: &Files, path: &str) -> Result<Content, Error> {
    let mut content = Content::default();
    let mut pieces = pin!(files.read(path, ReadOptions::default()));
    while let Some(piece) = pieces.next().await {
        content.push(&piece?.data);
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
    let exit = if equal { Exit::Done } else { Exit::Error };
    exit.told(match format {
        Format::Json => output::emit_json(&serde_json::json!({ "files": reports, "equal": equal })),
        Format::Text => output::emit_line(text(reports, equal)),
    })
}

fn text(reports: &[FileReport], equal: bool) -> String {
    let lines: String = reports.iter().map(|report| report.line() + "\n").collect();
    let records: u64 = reports.iter().map(|report| report.records_acked).sum();
    let verdict = if equal { "all equal: nothing lost, nothing twice" } else { "NOT ALL EQUAL" };
    format!("{lines}{} files, {records} records: {verdict}", reports.len())
}
