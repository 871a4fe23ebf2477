//! Those who look at files.

use super::notebook::Notebook;
use futures_util::{StreamExt, TryStreamExt};
use inkpot_client::{Client, Error, ErrorReason, FileInfo, ReadOptions};
use inkpot_tests::checker::Event;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{sleep, timeout};

/// Looks at files now and then: reads from anywhere to the end, follows, asks for one or for all.
pub async fn read(notebook: Notebook, number: usize, files: Vec<String>, times: usize, seed: u64) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(seed);
    let client = notebook.client(number).await;
    for _ in 0..times {
        sleep(Duration::from_millis(rng.random_range(1..400))).await;
        let file = &files[rng.random_range(0..files.len())];
        let back = if rng.random_bool(0.5) { 0 } else { -rng.random_range(1..20_000) };
        let (options, patience) = (ReadOptions { offset: back, ..ReadOptions::default() }, Duration::from_secs(2));
        match rng.random_range(0..8) {
            0 => _ = timeout(patience, stat(&notebook, &client, file)).await,
            1..3 => _ = timeout(patience, list(&notebook, &client, &files, rng.random_range(0..3))).await,
            3 => {
                let options = ReadOptions { follow: true, ..options };
                _ = timeout(patience, read_file(&notebook, &client, file, options)).await;
            }
            _ => _ = timeout(patience, read_file(&notebook, &client, file, options)).await,
        }
    }
    Ok(())
}

/// All that is asked for, and the generation.
async fn read_file(
    notebook: &Notebook,
    client: &Client,
    file: &str,
    options: ReadOptions,
) -> Result<(u64, Vec<u8>), Error> {
    let asked = notebook.events();
    let mut pieces = std::pin::pin!(client.files().read(file, options));
    let (mut generation, mut content) = (0, Vec::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.inspect_err(|error| absent(notebook, file, error, asked))?;
        generation = piece.generation;
        content.extend_from_slice(&piece.data);
        if piece.transition == 0 && piece.generation > 0 {
            let (file, data, end) = (file.to_owned(), piece.data.to_vec(), piece.end_offset);
            notebook.note(Event::Read { file, generation, offset: piece.offset, data, end, asked });
        }
    }
    Ok((generation, content))
}

fn absent(notebook: &Notebook, file: &str, error: &Error, asked: usize) {
    if error.reason() == Some(ErrorReason::FileNotFound) {
        let file = file.to_owned();
        notebook.note(Event::Seen { file, generation: None, size: 0, crc32c: None, asked });
    }
}

fn seen(notebook: &Notebook, info: &FileInfo, asked: usize) {
    let (file, generation) = (info.path.clone(), Some(info.generation));
    notebook.note(Event::Seen { file, generation, size: info.size, crc32c: info.crc32c, asked });
}

/// Generation and size of a file.
pub async fn stat(notebook: &Notebook, client: &Client, file: &str) -> Option<(u64, u64)> {
    let asked = notebook.events();
    match client.files().stat(file).await {
        Ok(info) => {
            seen(notebook, &info, asked);
            Some((info.generation, info.size))
        }
        Err(error) => {
            absent(notebook, file, &error, asked);
            None
        }
    }
}

/// All files; those of `known` that are not among them do not exist.
pub async fn list(
    notebook: &Notebook,
    client: &Client,
    known: &[String],
    page: u32,
) -> Result<BTreeSet<String>, Error> {
    let asked = notebook.events();
    let found: Vec<FileInfo> = client.files().list("", page).try_collect().await?;
    found.iter().for_each(|info| seen(notebook, info, asked));
    let paths: BTreeSet<String> = found.into_iter().map(|info| info.path).collect();
    for file in known.iter().filter(|file| !paths.contains(*file)) {
        notebook.note(Event::Seen { file: file.clone(), generation: None, size: 0, crc32c: None, asked });
    }
    Ok(paths)
}

/// All files in the end, and what they hold; asks until somebody knows.
pub async fn read_all(notebook: &Notebook, number: usize) -> Vec<(String, u64, Vec<u8>)> {
    let client = notebook.client(number).await;
    let files = loop {
        match list(notebook, &client, &[], 0).await {
            Ok(files) => break files,
            Err(error) => notebook.trace.note(format!("files cannot be listed yet: {error}")),
        }
        sleep(Duration::from_millis(200)).await;
    };
    let mut found = Vec::new();
    for file in files {
        stat(notebook, &client, &file).await;
        loop {
            match read_file(notebook, &client, &file, ReadOptions::default()).await {
                Ok((generation, content)) => break found.push((file, generation, content)),
                Err(error) if error.reason() == Some(ErrorReason::FileNotFound) => {
                    break notebook.fault(format!("{file} is listed and not there"));
                }
                Err(error) => notebook.trace.note(format!("{file} cannot be read yet: {error}")),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
    found
}
