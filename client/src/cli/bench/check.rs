//! The content of the files after a run: the records that were acknowledged, each once, and nothing else.

use super::{
    super::failure::{Exit, Failure},
    load::{Load, Mode},
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use inkpot_client::{Files, ReadOptions};
use inkpot_proto::v1::ErrorReason;
use std::{collections::HashSet, pin::pin};

/// Files that are read at a time.
const READERS: usize = 4;

/// Reads the files, each once, and compares: each is a repetition of the one record, and appends are as many bytes in all as
/// were acknowledged. An upload was checked by size and crc32c when it was published.
///
/// # Errors
/// One that is not, named; or what the server says.
pub(super) async fn compare(files: Vec<(Files, usize, String)>, load: &Load, acked: u64) -> Result<(), Failure> {
    let mut known = HashSet::new();
    let once = files.into_iter().filter(|(_, tenant, path)| known.insert((*tenant, path.clone())));
    let line = load.line();
    let reading = stream::iter(once.map(|(files, _, path)| compare_one(files, path, line.clone(), load.mode)));
    let found: u64 = reading.buffer_unordered(READERS).try_fold(0, async |sum, bytes| Ok(sum + bytes)).await?;
    if load.mode == Mode::Append && found != acked {
        let text = format!("the files have {found} bytes, but {acked} were acknowledged");
        return Err(Failure::new(Exit::Error, text));
    }
    Ok(())
}

/// Gives the size of the file. Of uploads, none may have come to its end.
async fn compare_one(files: Files, path: String, line: Bytes, mode: Mode) -> Result<u64, Failure> {
    let mut pieces = pin!(files.read(&path, ReadOptions::default()));
    let mut at = 0_u64;
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Err(error) if mode == Mode::Upload && error.reason() == Some(ErrorReason::FileNotFound) => return Ok(0),
            piece => piece.map_err(|error| Failure::reading(format_args!("read {path}"), &error))?,
        };
        let mut rest = &piece.data[..];
        while !rest.is_empty() {
            let expected = &line[usize::try_from(at % line.len() as u64).unwrap_or_default()..];
            let len = rest.len().min(expected.len());
            if rest[..len] != expected[..len] {
                let text = format!("{path} has something else than what was sent, in the record at {at}");
                return Err(Failure::new(Exit::Error, text));
            }
            (rest, at) = (&rest[len..], at + len as u64);
        }
    }
    if !at.is_multiple_of(line.len() as u64) {
        return Err(Failure::new(Exit::Error, format!("{path} ends at {at}, inside of a record")));
    }
    Ok(at)
}
