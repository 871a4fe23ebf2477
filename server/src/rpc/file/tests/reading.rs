use super::*;

pub(super) type Files = FileServiceClient<Channel>;

pub(super) fn request(path: &str) -> v1::ReadRequest {
    v1::ReadRequest { path: path.to_owned(), ..v1::ReadRequest::default() }
}

pub(super) async fn start(files: &mut Files, request: v1::ReadRequest) -> Streaming<v1::ReadResponse> {
    within(files.read(request)).await.unwrap().into_inner()
}

async fn piece(answers: &mut Streaming<v1::ReadResponse>) -> (u64, String, u64) {
    let piece = within(answers.message()).await.unwrap().unwrap();
    assert_eq!(piece.generation, GENERATION);
    (piece.offset, String::from_utf8(piece.data.to_vec()).unwrap(), piece.end_offset)
}

/// Everything that a read brings.
pub(super) async fn all(files: &mut Files, request: v1::ReadRequest) -> Result<String, Status> {
    let mut answers = start(files, request).await;
    let mut text = String::new();
    while let Some(piece) = within(answers.message()).await? {
        text += std::str::from_utf8(&piece.data).unwrap();
    }
    Ok(text)
}

pub(super) async fn refusal(files: &mut Files, request: v1::ReadRequest) -> Status {
    all(files, request).await.unwrap_err()
}

#[tokio::test]
async fn committed_bytes_come_from_disk_and_memory_alike() {
    let fake = Fake::new(one_shard());
    put(&fake, "a", "0123", &["45", "6", "789"]);
    let mut files = fake.files().await;
    assert_eq!(all(&mut files, request("a")).await.unwrap(), "0123456789");
    let cases = [(2, 0, "23456789"), (5, 0, "56789"), (-4, 0, "6789"), (-99, 3, "012"), (3, 4, "3456"), (8, 99, "89")];
    for (offset, limit, expected) in cases {
        let found = all(&mut files, v1::ReadRequest { offset, limit, ..request("a") }).await.unwrap();
        assert_eq!(found, expected, "offset {offset}, limit {limit}");
    }
}

#[tokio::test]
async fn small_pieces_in_memory_come_in_one_response() {
    let fake = Fake::new(one_shard());
    put(&fake, "a", "", &["a", "b", "c", "d"]);
    let mut answers = start(&mut fake.files().await, request("a")).await;
    assert_eq!(piece(&mut answers).await, (0, "abcd".into(), 4));
    assert_eq!(within(answers.message()).await.unwrap(), None);
}

#[tokio::test]
async fn large_file_comes_in_pieces_of_bounded_size() {
    let fake = Fake::new(one_shard());
    let content = "x".repeat(600 << 10);
    put(&fake, "a", &content, &[]);
    let mut answers = start(&mut fake.files().await, request("a")).await;
    let mut sizes = Vec::new();
    while let Some(piece) = within(answers.message()).await.unwrap() {
        sizes.push(piece.data.len() >> 10);
    }
    // They grow as they are taken: 256 KiB is the largest.
    assert_eq!((sizes[0], sizes.iter().sum::<usize>()), (16, 600), "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 256), "{sizes:?}");
}

#[tokio::test]
async fn empty_range_brings_one_empty_piece_that_tells_the_end() {
    let fake = Fake::new(one_shard());
    put(&fake, "a", "0123", &[]);
    let mut answers = start(&mut fake.files().await, v1::ReadRequest { offset: 4, ..request("a") }).await;
    assert_eq!(piece(&mut answers).await, (4, String::new(), 4));
    assert_eq!(within(answers.message()).await.unwrap(), None);
}

#[tokio::test]
async fn bad_reads_are_refused() {
    let mut fake = Fake::new(one_shard());
    put(&fake, "a", "0123", &[]);
    fake.answer_about_files();
    let mut files = fake.files().await;
    let status = refusal(&mut files, v1::ReadRequest { offset: 5, ..request("a") }).await;
    refused(&status, Code::OutOfRange, ErrorReason::OutOfRange);
    let status = refusal(&mut files, request("b")).await;
    refused(&status, Code::NotFound, ErrorReason::FileNotFound);
    let status = refusal(&mut files, v1::ReadRequest { if_generation: Some(1), ..request("a") }).await;
    refused(&status, Code::FailedPrecondition, ErrorReason::GenerationChanged);
    let status = within(files.read(request("../a"))).await.unwrap_err();
    refused(&status, Code::InvalidArgument, ErrorReason::InvalidPath);
}

#[tokio::test]
async fn plain_file_that_is_gone_or_short_is_a_foreign_change() {
    let fake = Fake::new(one_shard());
    put(&fake, "gone", "0123", &[]);
    fake.fs.remove_file("files/default/gone").unwrap();
    put(&fake, "short", "0123", &[]).state().applied = 9;
    fake.services.shard(&key("short")).registry.get(&key("short")).unwrap().state().committed = 9;
    let mut files = fake.files().await;
    for path in ["gone", "short"] {
        let status = refusal(&mut files, request(path)).await;
        refused(&status, Code::FailedPrecondition, ErrorReason::ForeignChange);
    }
}

#[tokio::test]
async fn follower_gets_what_is_committed_later() {
    let fake = Fake::new(one_shard());
    let view = put(&fake, "a", "old", &[]);
    let mut answers = start(&mut fake.files().await, v1::ReadRequest { follow: true, ..request("a") }).await;
    assert_eq!(piece(&mut answers).await, (0, "old".into(), 3));
    commit(&view, "new");
    assert_eq!(piece(&mut answers).await, (3, "new".into(), 6));
    commit(&view, "er");
    assert_eq!(piece(&mut answers).await, (6, "er".into(), 8));
}

#[tokio::test]
async fn follower_stops_at_its_limit() {
    let fake = Fake::new(one_shard());
    let view = put(&fake, "a", "old", &[]);
    let follow = v1::ReadRequest { follow: true, limit: 4, ..request("a") };
    let mut answers = start(&mut fake.files().await, follow).await;
    piece(&mut answers).await;
    commit(&view, "new");
    assert_eq!(piece(&mut answers).await, (3, "n".into(), 6));
    assert_eq!(within(answers.message()).await.unwrap(), None);
}

#[tokio::test]
async fn follower_waits_for_a_file_that_does_not_exist() {
    let mut fake = Fake::new(one_shard());
    let mut answers = start(&mut fake.files().await, v1::ReadRequest { follow: true, ..request("a") }).await;
    let crate::shard::Command::Lookup { reply, .. } = fake.command(0).await else { panic!("not a lookup") };
    reply.send(Ok(None)).unwrap();
    put(&fake, "a", "", &["here"]);
    assert_eq!(piece(&mut answers).await, (0, "here".into(), 4));
}

#[tokio::test]
async fn follower_ends_when_the_server_drains() {
    let fake = Fake::new(one_shard());
    put(&fake, "a", "old", &[]);
    let mut files = fake.files().await;
    let mut answers = start(&mut files, v1::ReadRequest { follow: true, ..request("a") }).await;
    piece(&mut answers).await;
    fake.services.drain.cancel();
    let status = within(answers.message()).await.unwrap_err();
    refused(&status, Code::Unavailable, ErrorReason::Draining);
    assert_eq!(all(&mut files, request("a")).await.unwrap(), "old", "what is there may still be read");
}

#[tokio::test]
async fn follower_that_hangs_up_leaves_no_task() {
    let fake = Fake::new(one_shard());
    put(&fake, "a", "old", &[]);
    let mut answers = start(&mut fake.files().await, v1::ReadRequest { follow: true, ..request("a") }).await;
    piece(&mut answers).await;
    drop(answers);
    fake.services.tasks.close();
    within(fake.services.tasks.wait()).await;
}
