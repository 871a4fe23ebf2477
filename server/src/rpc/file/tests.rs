#![allow(clippy::unwrap_used)]
use crate::{
    apply::view::{FileView, Piece, ViewState},
    config::Config,
    rpc::testing::*,
    shard::ids::FileId,
};
use inkpot_proto::v1::{self, ErrorReason, file_service_client::FileServiceClient};
use inkpot_wal::fs::{Attributes, FileSystem};
use std::sync::Arc;
use tonic::{Code, Status, Streaming, transport::Channel};

mod listing;
mod reading;
mod transitions;

const GENERATION: u64 = 9;

/// Puts a file into the registry of its shard: `plain` is in the plain file, each of `pending` in memory.
fn put(fake: &Fake, path: &str, plain: &str, pending: &[&'static str]) -> Arc<FileView> {
    let applied = plain.len() as u64;
    let mut state = ViewState { exists: true, committed: applied, applied, ..ViewState::default() };
    for data in pending {
        state.pending.push_back(Piece { offset: state.committed, data: (*data).into(), sequence: 1 });
        state.committed += data.len() as u64;
    }
    let key = key(path);
    write_plain(fake, &key.plain_path(), plain);
    let view = Arc::new(FileView::new(key.clone(), FileId::new(0, 1, 1), GENERATION, state));
    fake.services.shard(&key).registry.insert(Arc::clone(&view));
    view
}

fn write_plain(fake: &Fake, path: &str, content: &str) {
    let dirs = path.match_indices('/').map(|(at, _)| &path[..at]);
    for dir in dirs {
        // The ones before it may have made it.
        let _ = fake.fs.create_dir(dir, Attributes::PRIVATE_DIR);
    }
    let file = fake.fs.create(path, Attributes::PRIVATE).unwrap();
    file.set_file_id(&FileId::new(0, 1, 1).to_bytes()).unwrap();
    file.write_at(&[content.as_bytes()], 0).unwrap();
}

/// Commits more bytes to a file.
fn commit(view: &FileView, data: &'static str) {
    let mut state = view.state();
    let offset = state.committed;
    state.pending.push_back(Piece { offset, data: data.into(), sequence: 2 });
    state.committed += data.len() as u64;
    drop(state);
    view.changed.notify_waiters();
}
