#![allow(clippy::unwrap_used)]

use super::with_scheme;
use crate::{Client, ErrorKind};
use std::time::Duration;

#[test]
fn short_endpoints_get_scheme_and_port() {
    assert_eq!(with_scheme("host", "http"), "http://host:7411");
    assert_eq!(with_scheme("host:80", "http"), "http://host:80");
    assert_eq!(with_scheme("[::1]", "http"), "http://[::1]:7411");
    assert_eq!(with_scheme("[::1]:5", "http"), "http://[::1]:5");
    assert_eq!(with_scheme("http://host", "https"), "http://host");
    assert_eq!(with_scheme("host", "https"), "https://host:7411");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_without_the_token() {
    let good = || Client::builder("http://127.0.0.1:1");
    assert!(good().connect().await.is_ok());
    let bad = [
        Client::builder("http://host:1").server_name("other"),
        Client::builder("ftp://host:1"),
        Client::builder("http://"),
        Client::builder("not a host"),
        good().token("two\nlines"),
        good().in_flight(0, 1),
        good().in_flight(1, 0),
        good().give_up_after(Duration::ZERO),
        good().connect_timeout(Duration::ZERO),
        good().keepalive(Duration::ZERO, Duration::from_secs(1)),
    ];
    for builder in bad {
        let shown = format!("{builder:?}");
        let error = builder.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{shown}");
        assert!(!format!("{shown} {error}").contains("lines"), "{error}");
    }
    let error = Client::builder("http://user:secret@host:1").connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!error.to_string().contains("secret"), "{error}");
}
