#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::view::ViewState,
    shard::testing::{key, view},
};
use inkpot_wal::fs::{
    Attributes, Existing,
    faulty::{FaultKind, FaultyFs, Gate, Op, When},
    memory::MemoryFs,
};
use std::{sync::mpsc::channel, thread, time::Duration};

#[tokio::test]
async fn file_that_is_renamed_while_it_is_opened_is_read_under_its_new_name() {
    let memory = MemoryFs::new();
    ["files", "files/t"].iter().for_each(|dir| memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap());
    let view = view("a", 1, ViewState { exists: true, committed: 4, applied: 4, ..ViewState::default() });
    let file = memory.create("files/t/a", Attributes::PRIVATE).unwrap();
    file.set_file_id(&view.id.to_bytes()).unwrap();
    file.write_at(&[b"0123"], 0).unwrap();
    let faulty = FaultyFs::over_memory(&memory);
    let gate = Gate::new();
    faulty.fail(Op::Open, "files/t/a", When::Nth(1), FaultKind::Hang(gate.clone()));
    let fs: Arc<dyn FileSystem> = Arc::new(faulty);
    let reading = tokio::spawn({
        let view = Arc::clone(&view);
        async move { read(&view, &fs, 0, 99).await }
    });
    let renaming = tokio::task::spawn_blocking(move || {
        assert!(gate.wait_until_hanging(Duration::from_secs(20)));
        let (renamed, done) = channel();
        let renamer = thread::spawn(move || {
            let mut place = view.place_mut();
            memory.rename("files/t/a", "files/t/b", Existing::Keep).unwrap();
            place.key = key("b");
            drop(place);
            renamed.send(()).unwrap();
        });
        // Where the opening holds the name, the renaming waits for it instead.
        let _ = done.recv_timeout(Duration::from_millis(100));
        gate.release();
        renamer.join().unwrap();
    });
    assert_eq!(&reading.await.unwrap().unwrap().data[..], b"0123");
    renaming.await.unwrap();
}

#[test]
fn file_that_is_not_there_is_told_from_a_disk_that_fails() {
    let displaced = |errno: Errno| is_displaced(&errno.into());
    assert!(displaced(Errno::NOENT) && displaced(Errno::LOOP) && displaced(Errno::NOTDIR));
    assert!(!displaced(Errno::IO));
    let refused = refuse(&key("a"), 3, &Errno::IO.into());
    assert_eq!(refused.reason, ErrorReason::Internal);
}
