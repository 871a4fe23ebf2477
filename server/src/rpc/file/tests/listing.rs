use super::*;

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
}
