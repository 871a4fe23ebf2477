//! Sets of uploads and renames over shards, over the real wire: at once for everybody, all or none, each error by name.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    CommitFilesRequest, CommitFilesResponse, ErrorReason, FinishAction, ListRequest, ReadRequest, RenameRequest,
    StatRequest, Transition, UploadPart,
};
use inkpot_tests::harness::{
    PATIENCE, assert_nack, assert_refused,
    files::{assert_absent, assert_content, content, list, stat, write_state},
    operate::{Operation, operator, rename, seal},
    server::{Server, Setup},
    session::{RawSession, finish, open_as, within},
    upload::{create_as, replace_as, send_chunks},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tonic::{Code, Status};

const SHARDS: u32 = 3;

fn server() -> Server {
    Server::start(Setup::default().config(&format!("shards = {SHARDS}")))
}

/// Sends an upload and leaves it.
async fn leave(session: &mut RawSession, path: &str, data: &str, replaces: bool) -> UploadPart {
    let open = if replaces { replace_as(1, path, "p", 1) } else { create_as(1, path, "p", 1) };
    session.opened(open).await;
    send_chunks(session, 1, 1, [data.as_bytes()]).await.unwrap();
    session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
    UploadPart {
        path: path.to_owned(),
        producer_id: "p".to_owned(),
        producer_epoch: 1,
        size: Some(data.len() as u64),
        crc32c: Some(crc32c::crc32c(data.as_bytes())),
    }
}

async fn commit(server: &Server, uploads: &[UploadPart]) -> Result<CommitFilesResponse, Status> {
    let request = CommitFilesRequest { uploads: uploads.to_vec() };
    let answer = within(PATIENCE, "CommitFiles", server.files().commit_files(request)).await;
    answer.map(tonic::Response::into_inner)
}

async fn append(session: &mut RawSession, path: &str, producer: &str, data: &str) -> u64 {
    let opened = session.opened(open_as(9, path, producer, 1)).await;
    session.write(9, opened.last_seq + 1, data).await.unwrap();
    session.finish(9).await.unwrap();
    opened.last_seq + 1
}

/// Paths that begin so, one in each shard, in the order of the shards; found by asking where files are.
async fn paths_by_shard(server: &Server, begin: &str) -> Vec<String> {
    let mut session = server.session().await;
    let mut found = vec![None; SHARDS as usize];
    for n in 0.. {
        let path = format!("{begin}{n}");
        append(&mut session, &path, "finder", "x").await;
        let shard = stat(server, &path).await.unwrap().shard;
        inkpot_tests::harness::operate::delete(&path).on(server).await.unwrap();
        found[shard as usize].get_or_insert(path);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

/// Looks all the time whether the files are of one version, by Stat one after the other and by List; returns how often.
async fn watch(server: Arc<Server>, prefix: &str, paths: Vec<String>, stop: Arc<AtomicBool>) -> usize {
    let mut files = server.files();
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut sizes = Vec::new();
        for path in &paths {
            let answer = files.stat(StatRequest { path: path.clone() }).await;
            sizes.push(answer.map_or(0, |answer| answer.into_inner().file.unwrap().size));
        }
        assert!(sizes.is_sorted(), "who has seen one new file sees all: {sizes:?}");
        let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        let listed = files.list(request).await.unwrap().into_inner().files;
        let sizes: BTreeSet<u64> = listed.iter().map(|file| file.size).collect();
        assert!(sizes.len() <= 1 && [0, paths.len()].contains(&listed.len()), "List is torn: {listed:?}");
        looks += 1;
    }
    looks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_over_all_shards_appears_at_once_and_again_gives_the_same_generations() {
    let server = Arc::new(server());
    let paths: Vec<String> = (0..12).map(|n| format!("set/{n}")).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(Arc::clone(&server), "set/", paths.clone(), Arc::clone(&stop)));
    let mut session = server.session().await;
    for round in 1_u8..=10 {
        let data = "v".repeat(usize::from(round));
        let mut parts = Vec::new();
        for path in &paths {
            let open = replace_as(1, path, "p", u64::from(round));
            session.opened(open).await;
            send_chunks(&mut session, 1, 1, [data.as_bytes()]).await.unwrap();
            session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
            let (path, producer_id) = (path.clone(), "p".to_owned());
            parts.push(UploadPart { path, producer_id, producer_epoch: round.into(), ..UploadPart::default() });
        }
        let first = commit(&server, &parts).await.unwrap().generations;
        assert_eq!(commit(&server, &parts).await.unwrap().generations, first);
        for (path, generation) in paths.iter().zip(first) {
            assert_eq!(assert_content(&server, path, data.as_bytes()).await.generation, generation);
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 0);
    let shards = async |path: &String| stat(&server, path).await.unwrap().shard;
    let mut seen = BTreeSet::new();
    for path in &paths {
        seen.insert(shards(path).await);
    }
    assert_eq!(seen.len(), SHARDS as usize, "the set was over all shards");
}

#[tokio::test]
async fn set_with_a_fault_leaves_everything_as_it_was_and_can_be_published_later() {
    let server = server();
    let mut session = server.session().await;
    append(&mut session, "there", "q", "before").await;
    let mut good = Vec::new();
    for n in 0..4 {
        good.push(leave(&mut session, &format!("a/{n}"), &format!("part {n}"), false).await);
    }
    let with = |part: UploadPart| [good.clone(), vec![part]].concat();
    let part = good[3].clone();
    let faulty = [
        (UploadPart { path: "missing".to_owned(), ..part.clone() }, Code::NotFound, ErrorReason::UploadNotFound),
        (UploadPart { producer_epoch: 2, ..part.clone() }, Code::FailedPrecondition, ErrorReason::ProducerFenced),
        (UploadPart { size: Some(1), ..part.clone() }, Code::InvalidArgument, ErrorReason::SizeMismatch),
        (UploadPart { crc32c: Some(1), ..part.clone() }, Code::InvalidArgument, ErrorReason::ChecksumMismatch),
    ];
    for (part, code, reason) in faulty {
        let uploads = if reason == ErrorReason::UploadNotFound { with(part) } else { [&good[..3], &[part]].concat() };
        assert_refused(&commit(&server, &uploads).await.unwrap_err(), code, reason);
    }
    for part in [part.clone(), UploadPart { path: "a/1/below".to_owned(), ..part.clone() }] {
        let status = commit(&server, &with(part)).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    for uploads in [Vec::new(), vec![part; 1_001]] {
        let status = commit(&server, &uploads).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    // An upload whose file came meanwhile, and one that somebody writes to.
    let late = leave(&mut session, "late", "late", false).await;
    append(&mut session, "late", "q", "was quicker").await;
    let status = commit(&server, &with(late)).await.unwrap_err();
    assert_refused(&status, Code::AlreadyExists, ErrorReason::FileExists);
    let busy = leave(&mut session, "busy", "busy", false).await;
    session.opened(create_as(5, "busy", "p", 1)).await;
    let status = commit(&server, &with(busy.clone())).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, ErrorReason::UploadOpen);
    session.finish(5).await.unwrap();
    let status = commit(&server, &with(busy)).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, ErrorReason::UploadFinished);
    for part in &good {
        assert_absent(&server, &part.path).await;
    }
    let generations = commit(&server, &good).await.unwrap().generations;
    for (n, generation) in generations.into_iter().enumerate() {
        let info = assert_content(&server, &format!("a/{n}"), format!("part {n}").as_bytes()).await;
        assert_eq!(info.generation, generation);
    }
}

#[tokio::test]
async fn rename_over_shards_takes_bytes_producers_and_generation_along() {
    let server = server();
    let paths = paths_by_shard(&server, "find/").await;
    let (from, to) = (paths[1].clone(), paths[0].clone());
    let mut session = server.session().await;
    let seq = append(&mut session, &from, "w", "hello ").await;
    let generation = stat(&server, &from).await.unwrap().generation;
    let opened = session.opened(open_as(1, &from, "w", 1)).await;
    let request = RenameRequest { operator: operator("w", 1, seq + 1), ..rename(&from, &to) };
    let wrong = RenameRequest { if_generation: Some(generation + 1), ..request.clone() };
    let status = wrong.on(&server).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, ErrorReason::GenerationChanged);
    let done = request.clone().on(&server).await.unwrap();
    assert_eq!((done.generation, done.duplicate), (generation, false));
    let again = request.on(&server).await.unwrap();
    assert_eq!((again.generation, again.duplicate), (generation, true));
    assert_absent(&server, &from).await;
    assert_content(&server, &to, b"hello ").await;
    // The channel at the old path is told, and its producer goes on at the new one.
    let nack = session.write(1, opened.last_seq + 1, "lost").await.unwrap_err();
    assert_nack(&nack, 1, opened.last_seq + 1, Code::FailedPrecondition, ErrorReason::GenerationChanged);
    assert_eq!(write_state(&server, &to, "w").await.last_seq, seq + 1);
    append(&mut session, &to, "w", "world").await;
    assert_content(&server, &to, b"hello world").await;
    // Into a directory of another shard, over a file only if that is asked for, and back to where it was; sealed.
    append(&mut session, &paths[2], "q", "in the way").await;
    let status = rename(&to, &paths[2]).on(&server).await.unwrap_err();
    assert_refused(&status, Code::AlreadyExists, ErrorReason::FileExists);
    seal(&to).on(&server).await.unwrap();
    let replacing = RenameRequest { replace: true, ..rename(&to, &paths[2]) };
    replacing.on(&server).await.unwrap();
    assert!(assert_content(&server, &paths[2], b"hello world").await.sealed);
    let status = rename(&to, &from).on(&server).await.unwrap_err();
    assert_refused(&status, Code::NotFound, ErrorReason::FileNotFound);
    assert_eq!(list(&server).await, [paths[2].clone()]);
}

/// The file has its id again when it comes back, and at another path its old channels must not lead to it.
#[tokio::test]
async fn channel_of_a_file_that_left_stays_behind_when_it_comes_back() {
    let server = server();
    let paths = paths_by_shard(&server, "find/").await;
    let (from, over) = (&paths[1], &paths[0]);
    let back = paths_by_shard(&server, "back/").await[1].clone();
    let mut session = server.session().await;
    append(&mut session, from, "w", "hello").await;
    let opened = session.opened(open_as(1, from, "w", 1)).await;
    rename(from, over).on(&server).await.unwrap();
    rename(over, &back).on(&server).await.unwrap();
    let seq = opened.last_seq + 1;
    let nack = session.write(1, seq, "lost").await.unwrap_err();
    assert_nack(&nack, 1, seq, Code::FailedPrecondition, ErrorReason::GenerationChanged);
    assert_content(&server, &back, b"hello").await;
    append(&mut session, from, "w", "anew").await;
    assert_content(&server, from, b"anew").await;
}

#[tokio::test]
async fn follower_of_a_file_that_left_is_told_so() {
    let server = server();
    let paths = paths_by_shard(&server, "find/").await;
    let mut session = server.session().await;
    append(&mut session, &paths[2], "w", "before").await;
    let request = ReadRequest { path: paths[2].clone(), follow: true, ..ReadRequest::default() };
    let mut stream = within(PATIENCE, "Read", server.files().read(request)).await.unwrap().into_inner();
    let first = within(PATIENCE, "bytes", stream.message()).await.unwrap().unwrap();
    assert_eq!(first.data, "before");
    rename(&paths[2], &paths[0]).on(&server).await.unwrap();
    let told = within(PATIENCE, "the transition", stream.message()).await.unwrap().unwrap();
    assert_eq!(told.transition(), Transition::Deleted);
    append(&mut session, &paths[2], "w", "anew").await;
    let told = within(PATIENCE, "the transition", stream.message()).await.unwrap().unwrap();
    assert_eq!(told.transition(), Transition::Created);
    let next = within(PATIENCE, "bytes", stream.message()).await.unwrap().unwrap();
    assert_eq!((next.offset, next.data.as_ref()), (0, b"anew".as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_append_is_lost_while_the_file_moves_over_shards() {
    let server = Arc::new(server());
    let paths = paths_by_shard(&server, "find/").await;
    let mut session = server.session().await;
    append(&mut session, &paths[0], "w", "0 ").await;
    let stop = Arc::new(AtomicBool::new(false));
    let (mover, ended, places) = (Arc::clone(&server), Arc::clone(&stop), paths.clone());
    let moving = tokio::spawn(async move {
        let mut moves = 0;
        while !ended.load(Ordering::Relaxed) {
            rename(&places[moves % 3], &places[(moves + 1) % 3]).on(&mover).await.unwrap();
            moves += 1;
        }
        moves
    });
    // The writer looks for the file wherever it is; an open or an append may be refused while it moves.
    let mut expected = "0 ".to_owned();
    for n in 1.. {
        let path = &paths[n % 3];
        let generation = stat(&server, path).await.map_or(u64::MAX, |info| info.generation);
        if let Ok(opened) = {
            let open = inkpot_proto::v1::Open { if_generation: Some(generation), ..open_as(1, path, "w", 1) };
            session.open(open).await
        } {
            if session.write(1, opened.last_seq + 1, format!("{n} ")).await.is_ok() {
                expected += &format!("{n} ");
            }
            let _ = session.finish(1).await;
        }
        if expected.len() > 60 {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let moves = moving.await.unwrap();
    assert!(moves > 3, "{moves} moves");
    assert_eq!(String::from_utf8(content(&server, &paths[moves % 3]).await.unwrap()).unwrap(), expected);
    assert_eq!(list(&server).await.len(), 1);
}
