//! What is in a file and in the data folder, asked for in every way there is.

use super::{PATIENCE, server::Server, session::within, wait};
use inkpot_proto::v1::{FileInfo, GetWriteStateRequest, GetWriteStateResponse, ListRequest, ReadRequest, StatRequest};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tonic::{Code, Status};

/// All of a file, as `Read` tells it.
///
/// # Errors
/// What the server says.
pub async fn content(server: &Server, path: &str) -> Result<Vec<u8>, Status> {
    let request = ReadRequest { path: path.to_owned(), ..ReadRequest::default() };
    let mut stream = within(PATIENCE, "the answer to Read", server.files().read(request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = within(PATIENCE, "a piece of a file", stream.message()).await? {
        assert_eq!(piece.offset, bytes.len() as u64, "a piece of {path} is out of turn");
        bytes.extend_from_slice(&piece.data);
    }
    Ok(bytes)
}

/// A file as `Stat` tells of it.
///
/// # Errors
/// What the server says.
pub async fn stat(server: &Server, path: &str) -> Result<FileInfo, Status> {
    let request = StatRequest { path: path.to_owned() };
    let answer = within(PATIENCE, "the answer to Stat", server.files().stat(request)).await?;
    Ok(answer.into_inner().file.expect("an answer to Stat has a file"))
}

/// The paths of all files, as `List` tells them.
///
/// # Panics
/// If it is refused.
pub async fn list(server: &Server) -> Vec<String> {
    let request = ListRequest { page_size: 10_000, ..ListRequest::default() };
    let answer = within(PATIENCE, "the answer to List", server.files().list(request)).await.expect("List works");
    answer.into_inner().files.into_iter().map(|file| file.path).collect()
}

/// What a producer has committed.
///
/// # Panics
/// If it is refused.
pub async fn write_state(server: &Server, path: &str, producer: &str) -> GetWriteStateResponse {
    let request = GetWriteStateRequest { path: path.to_owned(), producer_id: producer.to_owned() };
    let answer = within(PATIENCE, "a write state", server.client().get_write_state(request)).await;
    answer.expect("GetWriteState works").into_inner()
}

/// Asserts that `Read`, `Stat` and `List` know of no file, and that nothing lies where its plain file would.
///
/// # Panics
/// If one of them does.
pub async fn assert_absent(server: &Server, path: &str) {
    for status in [content(server, path).await.map(|_| ()), stat(server, path).await.map(|_| ())] {
        let code = status.as_ref().map_err(Status::code);
        assert_eq!(code, Err(Code::NotFound), "{path}: {status:?}");
    }
    let listed = list(server).await;
    assert!(!listed.iter().any(|listed| listed == path), "{path} is listed: {listed:?}");
    assert!(!server.plain(path).exists(), "{path} is in the directory tree");
}

/// Asserts that a file has these bytes through `Read`, `Stat` and `List`, and, as soon as they are applied, in the
/// directory tree. Returns what `Stat` tells.
///
/// # Panics
/// If it is otherwise.
pub async fn assert_content(server: &Server, path: &str, expected: &[u8]) -> FileInfo {
    let found = content(server, path).await.unwrap_or_else(|status| panic!("{path}: {status:?}"));
    assert!(found == expected, "{path} has {} bytes, not these {}", found.len(), expected.len());
    let info = stat(server, path).await.unwrap_or_else(|status| panic!("{path}: {status:?}"));
    assert_eq!((info.size, info.crc32c), (expected.len() as u64, Some(crc32c::crc32c(expected))), "{path}: {info:?}");
    let listed = list(server).await;
    assert_eq!(listed.iter().filter(|listed| *listed == path).count(), 1, "{path} in {listed:?}");
    let plain = server.plain(path);
    wait::until(&format!("{path} lies in the directory tree"), PATIENCE, || {
        fs::read(&plain).is_ok_and(|bytes| bytes == expected)
    })
    .await;
    info
}

/// Every regular file below the plain files of all tenants.
#[must_use]
pub fn plain_files(server: &Server) -> Vec<PathBuf> {
    below(&server.data_dir().join("files"))
}

/// Every regular file in staging.
#[must_use]
pub fn staged_files(server: &Server) -> Vec<PathBuf> {
    below(&server.data_dir().join("staging"))
}

/// Regular files below a directory that may change meanwhile, in order.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(below(&path)),
            Ok(_) => found.push(path),
            // It has gone since.
            Err(_) => {}
        }
    }
    found.sort();
    found
}

/// Every file below a folder, with its bytes; directories have none.
///
/// # Panics
/// If something there cannot be read.
#[must_use]
pub fn folder_content(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(folder_content(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, Some(bytes));
        }
    }
    found
}
