use super::*;
use inkpot_proto::error::Refused;

fn paths(page: &v1::ListResponse) -> Vec<&str> {
    page.files.iter().map(|file| &*file.path).collect()
}

async fn list(files: &mut FileServiceClient<Channel>, request: v1::ListRequest) -> Result<v1::ListResponse, Status> {
    within(files.list(request)).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn stat_tells_what_is_known() {
    let mut fake = Fake::new(Config { shards: 4, ..Config::default() });
    put(&fake, "logs/a", "0123", &["45"]);
    fake.answer_about_files();
    let mut files = fake.files().await;
    let stat = v1::StatRequest { path: "logs/a".into() };
    let file = within(files.stat(stat)).await.unwrap().into_inner().file.unwrap();
    assert_eq!((&*file.path, file.size, file.applied_size, file.generation), ("logs/a", 6, 4, GENERATION));
    assert_eq!(file.shard as usize, fake.services.shard_of(&tenant(), &key("logs/a").path));
    let status = within(files.stat(v1::StatRequest { path: "logs/b".into() })).await.unwrap_err();
    refused(&status, Code::NotFound, ErrorReason::FileNotFound);
    assert!(status.message().contains("\"logs/b\" of tenant default"), "{status}");
}

#[tokio::test]
async fn malformed_call_is_refused_in_our_terms() {
    let fake = Fake::new(one_shard());
    let status = fake.raw_stat(vec![0, 0, 0, 0, 1, b'.']).await.unwrap_err();
    // The layers translate it; here is only the service.
    assert_eq!(crate::rpc::layers::in_our_terms(status).code(), Code::InvalidArgument);
}

#[tokio::test]
async fn pages_join_what_the_shards_have_in_order() {
    let mut fake = Fake::new(Config { shards: 4, ..Config::default() });
    let names: Vec<String> = (0..25).map(|n| format!("logs/{n:02}")).collect();
    for name in &names {
        put(&fake, name, "", &["x"]);
    }
    put(&fake, "other", "", &["x"]);
    fake.answer_about_files();
    let mut files = fake.files().await;
    let mut request = v1::ListRequest { prefix: "logs/".into(), page_size: 10, ..v1::ListRequest::default() };
    let mut found = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = list(&mut files, request.clone()).await.unwrap();
        sizes.push(page.files.len());
        found.extend(paths(&page).into_iter().map(str::to_owned));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, names);
    assert_eq!(sizes, [10, 10, 5]);
}

#[tokio::test]
async fn page_that_ends_with_the_last_file_has_no_next() {
    let mut fake = Fake::new(one_shard());
    put(&fake, "a", "", &["x"]);
    put(&fake, "b", "", &["x"]);
    fake.answer_about_files();
    let mut files = fake.files().await;
    let page = list(&mut files, v1::ListRequest { page_size: 2, ..v1::ListRequest::default() }).await.unwrap();
    assert_eq!((paths(&page), &*page.next_page_token), (vec!["a", "b"], ""));
    let none = v1::ListRequest { prefix: "zzz".into(), ..v1::ListRequest::default() };
    assert_eq!(list(&mut files, none).await.unwrap(), v1::ListResponse::default());
}

/// Files and common prefixes of each page, until there is no next one.
async fn pages(files: &mut FileServiceClient<Channel>, mut request: v1::ListRequest) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = list(files, request.clone()).await.unwrap();
        let names = page.files.into_iter().map(|file| file.path).chain(page.prefixes);
        pages.push(names.collect());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn common_prefix_counts_once_whatever_shards_have_files_below_it() {
    let mut fake = Fake::new(Config { shards: 4, ..Config::default() });
    for n in 0..20 {
        put(&fake, &format!("b/{n:02}"), "", &["x"]);
        put(&fake, &format!("c/d/{n:02}"), "", &["x"]);
    }
    ["a", "b-", "z"].iter().for_each(|path| _ = put(&fake, path, "", &["x"]));
    fake.answer_about_files();
    let mut files = fake.files().await;
    let by = |prefix: &str, page_size| v1::ListRequest {
        prefix: prefix.into(),
        delimiter: "/".into(),
        page_size,
        ..v1::ListRequest::default()
    };
    assert_eq!(pages(&mut files, by("", 10)).await, [["a", "b-", "z", "b/", "c/"]]);
    assert_eq!(pages(&mut files, by("", 2)).await, [vec!["a", "b-"], vec!["b/", "c/"], vec!["z"]]);
    assert_eq!(pages(&mut files, by("", 1)).await, [["a"], ["b-"], ["b/"], ["c/"], ["z"]]);
    assert_eq!(pages(&mut files, by("b", 2)).await, [["b-", "b/"]]);
    assert_eq!(pages(&mut files, by("c/", 2)).await, [["c/d/"]]);
    assert_eq!(pages(&mut files, by("c/d/", 15)).await.iter().map(Vec::len).collect::<Vec<_>>(), [15, 5]);
}

#[tokio::test]
async fn page_goes_on_behind_a_prefix_whatever_happens_below_it() {
    let mut fake = Fake::new(one_shard());
    ["a/1", "b/1", "c"].iter().for_each(|path| _ = put(&fake, path, "", &["x"]));
    fake.answer_about_files();
    let mut files = fake.files().await;
    let request = v1::ListRequest { delimiter: "/".into(), page_size: 1, ..v1::ListRequest::default() };
    let first = list(&mut files, request.clone()).await.unwrap();
    assert_eq!(first.prefixes, ["a/"]);
    put(&fake, "a/2", "", &["x"]);
    fake.services.shards[0].registry.set_absent(key("a/1"));
    fake.services.shards[0].registry.set_absent(key("b/1"));
    let second = list(&mut files, v1::ListRequest { page_token: first.next_page_token, ..request }).await.unwrap();
    assert_eq!((paths(&second), &*second.next_page_token), (vec!["c"], ""));
}

#[tokio::test]
async fn path_that_is_known_to_be_absent_needs_no_answer_of_the_shard() {
    let fake = Fake::new(one_shard());
    fake.services.shards[0].registry.set_absent(key("a"));
    let status = within(fake.files().await.stat(v1::StatRequest { path: "a".into() })).await.unwrap_err();
    refused(&status, Code::NotFound, ErrorReason::FileNotFound);
}

#[tokio::test]
async fn list_waits_for_a_shard_that_opens_and_is_refused_by_one_that_is_closed() {
    let mut fake = Fake::new(one_shard());
    put(&fake, "a", "", &["x"]);
    let mut files = fake.files().await;
    let mut waiting = files.clone();
    let waiting = tokio::spawn(async move { list(&mut waiting, v1::ListRequest::default()).await });
    fake.answer_about_files();
    assert_eq!(paths(&waiting.await.unwrap().unwrap()), ["a"]);
    fake.services.shards[0].catalog.close(Refused::new(ErrorReason::ShardClosed, "it failed"));
    let status = list(&mut files, v1::ListRequest::default()).await.unwrap_err();
    refused(&status, Code::Unavailable, ErrorReason::ShardClosed);
}

#[tokio::test]
async fn page_of_long_names_ends_before_the_message_is_too_large() {
    let mut fake = Fake::new(one_shard());
    let part = "x".repeat(200);
    let dir = [part.as_str(); 4].join("/");
    for n in 0..3000 {
        let state = ViewState { exists: true, ..ViewState::default() };
        let key = key(&format!("{dir}/{n}"));
        let view = FileView::new(key.clone(), FileId::new(0, 1, n), GENERATION, state);
        fake.services.shard(&key).registry.insert(Arc::new(view));
    }
    fake.answer_about_files();
    let mut files = fake.files().await;
    let page = list(&mut files, v1::ListRequest { page_size: 10_000, ..v1::ListRequest::default() }).await.unwrap();
    assert!((1000..3000).contains(&page.files.len()), "{}", page.files.len());
    assert!(!page.next_page_token.is_empty());
}

#[tokio::test]
async fn bad_list_is_refused() {
    let fake = Fake::new(one_shard());
    let mut files = fake.files().await;
    let bad = v1::ListRequest { page_token: "garbage".into(), ..v1::ListRequest::default() };
    refused(&list(&mut files, bad).await.unwrap_err(), Code::InvalidArgument, ErrorReason::InvalidField);
    let bad = v1::ListRequest { delimiter: "//".into(), ..v1::ListRequest::default() };
    refused(&list(&mut files, bad).await.unwrap_err(), Code::InvalidArgument, ErrorReason::InvalidField);
}
