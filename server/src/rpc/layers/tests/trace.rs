use super::*;
use crate::telemetry::Telemetry;
use http_body_util::BodyExt;
use prost::Message;
use std::{
    io,
    sync::{Arc, Mutex},
};
use tracing_subscriber::fmt::MakeWriter;

/// Log lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is logged while a call passes all layers.
async fn logged(config: &Config, request: Request<Body>) -> String {
    let (lines, calls) = (Lines::default(), Telemetry::off().calls());
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.with_max_level(tracing::Level::DEBUG).finish());
    let service = DeadlineLayer::new(config.limits.deadline_max).layer(service_fn(handler));
    let service = TraceLayer::new(calls).layer(CodesLayer.layer(IdentityLayer::new(config).layer(service)));
    let (_, body) = answer(service, request).await.into_parts();
    body.collect().await.unwrap();
    String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap()
}

#[tokio::test]
async fn answered_call_is_logged_with_method_tenant_code_and_duration() {
    let log = logged(&Config::default(), call(STAT, "")).await;
    for part in [&STAT[1..], "tenant=default", "code=Ok", "seconds=", "answered"] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    assert_eq!(log.lines().count(), 1);
}

#[tokio::test]
async fn refused_call_is_logged_without_its_token() {
    let tenant = Tenant { token_sha256: vec![token_sha256(TOKEN)], ..Tenant::default() };
    let config = Config { tenants: [("a".to_owned(), tenant)].into(), ..Config::default() };
    let wrong = with_header(call(STAT, ""), "authorization", "Bearer secret-but-wrong-token");
    let log = logged(&config, wrong).await;
    assert!(log.contains("code=Unauthenticated") && !log.contains("secret-but-wrong"), "{log}");
}

#[tokio::test]
async fn call_whose_client_goes_before_the_answer_is_logged_as_cancelled() {
    let (lines, calls) = (Lines::default(), Telemetry::off().calls());
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.with_max_level(tracing::Level::DEBUG).finish());
    let never = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let mut waiting = Box::pin(TraceLayer::new(calls).layer(never).oneshot(call(STAT, "")));
    assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
    drop(waiting);
    let log = String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap();
    assert!(log.contains("code=Cancelled") && log.lines().count() == 1, "{log}");
}

#[tokio::test]
async fn health_is_not_logged() {
    assert_eq!(logged(&Config::default(), call(CHECK, "")).await, "");
}

#[test]
fn every_method_that_is_served_has_a_name_of_its_own() {
    let set = prost_types::FileDescriptorSet::decode(inkpot_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut served = 0;
    for file in set.file.iter().filter(|file| file.package() == "inkpot.v1") {
        for service in &file.service {
            for method in &service.method {
                let name = format!("inkpot.v1.{}/{}", service.name(), method.name());
                assert_eq!(method::known(&format!("/{name}")), name);
                served += 1;
            }
        }
    }
    assert_eq!(served, method::KNOWN.len());
    assert_eq!(method::known("/inkpot.v1.WriteService/Nonsense"), "_OTHER");
}
