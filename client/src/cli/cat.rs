//! `inkpot cat`: the committed bytes of a file, as they are.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output,
};
use futures_util::{Stream, StreamExt};
use inkpot_client::{Error, ReadOptions, ReadResponse};
use std::pin::pin;

/// Write the bytes of a file to stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root
    path: String,
    /// First byte; negative: that many bytes before the end
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "BYTES")]
    offset: i64,
    /// Most bytes; without it: to the end
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "BYTES")]
    limit: Option<u64>,
}

/// Runs `inkpot cat`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let options = ReadOptions { offset: args.offset, limit: args.limit.unwrap_or(0), follow: false };
    let mut at = None;
    match copy(files.read(&args.path, options), &mut at).await? {
        None => Ok(Exit::Done),
        Some(error) => Err(Failure::reading(format_args!("{}{}", args.path, position(at)), &error)),
    }
}

fn position(at: Option<u64>) -> String {
    at.map(|offset| format!(" (complete up to byte {offset})")).unwrap_or_default()
}

/// Writes what a read gives to stdout. `at` is moved to the offset after the last byte written. Gives the error of
/// the read, if it ended with one.
///
/// # Errors
/// Stdout takes no more.
pub(crate) async fn copy(
    pieces: impl Stream<Item = Result<ReadResponse, Error>>,
    at: &mut Option<u64>,
) -> Result<Option<Error>, Failure> {
    let mut pieces = pin!(pieces);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => {
                let end = piece.offset + piece.data.len() as u64;
                output::emit_aside(piece.data).await?;
                *at = Some(end);
            }
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}
