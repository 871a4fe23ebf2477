//! Real handshakes with certificates made for the test.

use super::{in_time, record, records, singly};
use crate::{AppendOnce, Client, ClientBuilder, Error, ErrorKind, fake::Fake};
use futures_util::stream;
use inkpot_proto::v1::write_service_client::WriteServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::{fs, time::Duration};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// Certificate and key in PEM.
type Pair = (String, String);

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(ca: &Ca, name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

fn server(ca: &Ca, name: &str) -> ServerTlsConfig {
    let (certificate, key) = issued(ca, name);
    ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))
}

/// One append by call and one by session.
async fn append(builder: ClientBuilder) -> Result<(), Error> {
    let client = builder.give_up_after(Duration::from_millis(300)).connect().await?;
    in_time(client.append_once("f", vec![record(1)], AppendOnce::default())).await?;
    let writer = in_time(client.session().await.open("f", singly())).await?;
    in_time(in_time(writer.append(vec![record(2)])).await?).await.map(drop)
}

async fn fails_with(builder: ClientBuilder, kind: ErrorKind, words: &[&str]) {
    let error = append(builder).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

#[tokio::test]
async fn server_whose_ca_is_believed_is_spoken_to_from_file_and_memory() {
    let ca = ca("ours");
    let fake = Fake::over_tls(server(&ca, "127.0.0.1")).await;
    append(Client::builder(&fake.endpoint).ca_pem(ca.pem())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, ca.pem()).unwrap();
    let bare = fake.endpoint.trim_start_matches("https://");
    append(Client::builder(bare).ca_file(&file).token("secret")).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records([1, 2, 1, 2]));
    assert_eq!(fake.world(|world| world.tokens.last().cloned().flatten()).as_deref(), Some("Bearer secret"));
}

#[tokio::test]
async fn channel_for_other_services_has_the_tls_of_the_client_and_not_its_token() {
    let ca = ca("ours");
    let fake = Fake::over_tls(server(&ca, "127.0.0.1")).await;
    let client = Client::builder(&fake.endpoint).ca_pem(ca.pem()).token("secret").connect().await.unwrap();
    let mut other = WriteServiceClient::new(client.channel());
    let _ = in_time(other.write(stream::empty())).await.unwrap();
    assert_eq!(fake.world(|world| world.tokens.clone()), [None]);
}

#[tokio::test]
async fn server_of_another_ca_is_not_believed_and_the_error_says_so() {
    let fake = Fake::over_tls(server(&ca("theirs"), "127.0.0.1")).await;
    let builder = Client::builder(&fake.endpoint).ca_pem(ca("ours").pem());
    fails_with(builder.clone(), ErrorKind::Transport, &["UnknownIssuer", &fake.endpoint]).await;
    let client = builder.give_up_after(Duration::from_millis(300)).connect().await.unwrap();
    let error = in_time(client.session().await.open("f", singly())).await.unwrap_err();
    assert!(error.kind() == ErrorKind::GaveUp && error.to_string().contains("UnknownIssuer"), "{error}");
    assert!(fake.world(|world| world.bytes("f").is_empty()));
}

#[tokio::test]
async fn name_in_the_certificate_must_be_that_of_the_endpoint_or_the_one_given() {
    let ca = ca("ours");
    let fake = Fake::over_tls(server(&ca, "inkpot.internal")).await;
    let builder = Client::builder(&fake.endpoint).ca_pem(ca.pem());
    fails_with(builder.clone(), ErrorKind::Transport, &["not valid for name", "inkpot.internal"]).await;
    append(builder.server_name("inkpot.internal")).await.unwrap();
}

#[tokio::test]
async fn client_proves_who_it_is_where_the_server_asks() {
    let (ours, clients) = (ca("ours"), ca("clients"));
    let asking = server(&ours, "127.0.0.1").client_ca_root(Certificate::from_pem(clients.pem()));
    let fake = Fake::over_tls(asking).await;
    let builder = Client::builder(&fake.endpoint).ca_pem(ours.pem());
    fails_with(builder.clone(), ErrorKind::Transport, &["CertificateRequired"]).await;
    let (certificate, key) = issued(&ours, "client");
    fails_with(builder.clone().client_certificate_pem(certificate, key), ErrorKind::Transport, &["UnknownCA"]).await;
    let (certificate, key) = issued(&clients, "client");
    append(builder.clone().client_certificate_pem(certificate.clone(), key.clone())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = ["client.pem", "client.key"].map(|name| folder.path().join(name));
    fs::write(&files[0], certificate).unwrap();
    fs::write(&files[1], key).unwrap();
    append(builder.client_certificate_files(&files[0], &files[1])).await.unwrap();
}

#[tokio::test]
async fn wrong_scheme_is_an_error_that_says_what_to_do() {
    let ca = ca("ours");
    let secure = Fake::over_tls(server(&ca, "127.0.0.1")).await;
    let clear = secure.endpoint.replace("https://", "http://");
    fails_with(Client::builder(clear), ErrorKind::Transport, &["https://"]).await;
    let plain = Fake::good().await;
    let tls = plain.endpoint.replace("http://", "https://");
    fails_with(Client::builder(tls).ca_pem(ca.pem()), ErrorKind::Transport, &["http://"]).await;
}

#[tokio::test]
async fn material_that_cannot_be_used_is_named() {
    let ca = ca("ours");
    let (certificate, key) = issued(&ca, "client");
    let (_, other_key) = issued(&ca, "other");
    let good = || Client::builder("https://127.0.0.1:1").ca_pem(ca.pem());
    let broken = certificate.replacen("MII", "M!I", 1);
    let bad = [
        (good().ca_file("/nowhere/ca.pem"), ["the CA /nowhere/ca.pem cannot be read", "No such file"]),
        (good().ca_pem("not PEM"), ["the CA (given as PEM, 7 bytes)", "BEGIN CERTIFICATE"]),
        (good().ca_pem(broken), ["the CA (given as PEM", "cannot be used"]),
        (
            good().client_certificate_files("/nowhere/c.pem", "/nowhere/k.pem"),
            ["the client certificate", "/nowhere/c.pem"],
        ),
        (good().client_certificate_pem(certificate.clone(), "none"), ["the client key", "BEGIN PRIVATE KEY"]),
        (good().client_certificate_pem(certificate, other_key), ["the client certificate", "with the key"]),
        (good().server_name("not a name"), ["server_name \"not a name\"", "cannot be used"]),
        (Client::builder("http://127.0.0.1:1").ca_pem(ca.pem()), ["TLS", "https://"]),
    ];
    for (builder, words) in bad {
        assert!(!format!("{builder:?}").contains("BEGIN"), "{builder:?}");
        fails_with(builder, ErrorKind::Config, &words).await;
    }
    assert!(!format!("{:?}", good().client_certificate_pem("c", key.clone())).contains(&key[40..60]));
}
