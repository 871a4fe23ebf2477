//! The TLS options of `inkpot`, the real binary, alone and in a context: through a front that ends TLS before a real
//! server, with certificates made for the test.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        tool::{Ended, Tool},
        wait,
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};

const BOUND: Duration = Duration::from_secs(30);
const TOKEN: &str = "red-token-0123456789abcdef";

/// Somebody who signs certificates.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }
}

/// Ends TLS, and hands the bytes to a server in clear text. Its connections end with it.
struct Front {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Front {
    /// With a certificate of `ca` for `name`; asks clients for one of `clients`.
    fn new(server: &Server, ca: &Ca, name: &str, clients: Option<&Ca>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = match clients {
            None => versions.unwrap().with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                versions.unwrap().with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (certificate, key) = ca.issue(name);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), server.address()));
        Self { address, _runtime: runtime }
    }

    fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(relay(client, acceptor.clone(), to));
    }
}

/// However a connection ends, both sides see it: that it failed is the business of the tool.
async fn relay(client: TcpStream, acceptor: TlsAcceptor, to: SocketAddr) {
    match acceptor.accept(client).into_fallible().await {
        Ok(mut client) => {
            if let Ok(mut server) = TcpStream::connect(to).await {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        }
        Err((_, mut client)) => {
            // Closed with bytes unread, the connection would be reset, and the alert that says why lost.
            let _ = client.shutdown().await;
            let _ = copy(&mut client, &mut sink()).await;
        }
    }
}

/// A user with a home of its own, and files there.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file; gives its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn ca(&self, name: &str, ca: &Ca) -> String {
        self.file(name, &ca.0.pem())
    }

    /// Files of a certificate and its key.
    fn pair(&self, name: &str, ca: &Ca) -> [String; 2] {
        let (certificate, key) = ca.issue(name);
        [self.file(&format!("{name}.pem"), &certificate.pem()), self.file(&format!("{name}.key"), &key.serialize_pem())]
    }

    fn tool(&self, args: &[&str]) -> Tool {
        Tool::new(args).env("HOME", self.0.path().to_str().unwrap()).without_env("XDG_CONFIG_HOME")
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.tool(args).run("")
    }

    fn show(&self, args: &[&str]) -> Value {
        self.run(&[&["context", "show", "--output", "json"], args].concat()).exit(0).json()
    }
}

fn server() -> Server {
    Server::start(Setup::default().token("red", TOKEN))
}

fn wait_until_it_serves(user: &User, args: &[&str]) {
    let health = || user.run(&[&["health"], args].concat());
    wait::until_blocking("it serves", BOUND, || health().status.success());
}

/// Asserts that the server did not take the client. It says so when the client has already begun to speak: as the alert
/// comes in, there may or may not be a request to fail with it.
#[track_caller]
fn turned_away(ended: Ended, alert: &str) {
    let ended = ended.exit(1);
    assert!([alert, "connection closed"].iter().any(|words| ended.stderr.contains(words)), "{}", ended.stderr);
    assert_eq!(ended.text(), "");
}

#[test]
fn server_of_a_ca_that_is_believed_is_spoken_to_by_every_command() {
    let (server, user, ours) = (server(), User::new(), Ca::new("ours"));
    let front = Front::new(&server, &ours, "localhost", None);
    let (endpoint, ca, token) = (front.endpoint(), user.ca("ca.pem", &ours), user.file("token", TOKEN));
    let to = ["--endpoint", &endpoint, "--ca-file", &ca, "--token-file", &token];
    let run = |args: &[&str], input: &str| user.tool(&[args, &to].concat()).run(input).exit(0);
    wait_until_it_serves(&user, &to);
    let _ = run(&["append", "f"], "one\ntwo\n").says("2 records, 8 bytes acknowledged");
    assert_eq!(run(&["cat", "f"], "").text(), "one\ntwo\n");
    assert_eq!(run(&["tail", "-n", "1", "f"], "").text(), "two\n");
    assert_eq!(run(&["ls"], "").text(), "f\n");
    assert_eq!(run(&["stat", "f", "--output", "json"], "").json()["size"], 8);
    assert_eq!(run(&["health"], "").text(), "SERVING inkpot.v1.WriteService\n");
    let bench = run(&["bench", "--duration", "50ms", "--warmup", "0s", "--repeats", "1", "--output", "json"], "");
    assert!(bench.json().is_object());
    // By variables, and with a short endpoint: settings for TLS make it https.
    let short = format!("localhost:{}", front.address.port());
    let tool = user.tool(&["cat", "f"]).env("INKPOT_ENDPOINT", &short).env("INKPOT_CA_FILE", &ca);
    assert_eq!(tool.env("INKPOT_TOKEN", TOKEN).run("").exit(0).text(), "one\ntwo\n");
    let _ = user.run(&["health", "--endpoint", &short, "--ca-file", &ca]).exit(0);
}

#[test]
fn server_of_another_ca_is_refused_in_words_that_say_so() {
    let (server, user, ours) = (server(), User::new(), Ca::new("ours"));
    let front = Front::new(&server, &Ca::new("theirs"), "localhost", None);
    let (endpoint, ca) = (front.endpoint(), user.ca("ca.pem", &ours));
    let to = ["--endpoint", &endpoint, "--ca-file", &ca, "--token-file", &user.file("token", TOKEN)];
    for (command, exit) in
        [(&["cat", "f"][..], 1), (&["ls"], 1), (&["health"], 1), (&["append", "f", "--give-up-after", "300ms"], 3)]
    {
        let ended = user.tool(&[command, &to].concat()).run("line\n").exit(exit).says("UnknownIssuer").says(&endpoint);
        assert_eq!(ended.text(), "", "{command:?}");
    }
}

#[test]
fn name_of_the_certificate_must_be_the_host_or_the_name_that_is_given() {
    let (server, user, ours) = (server(), User::new(), Ca::new("ours"));
    let front = Front::new(&server, &ours, "inkpot.internal", None);
    let (endpoint, ca) = (front.endpoint(), user.ca("ca.pem", &ours));
    let health = ["health", "--endpoint", &endpoint, "--ca-file", &ca];
    let _ = user.run(&health).exit(1).says("not valid for name \"localhost\"");
    wait_until_it_serves(&user, &[&health[1..], &["--server-name", "inkpot.internal"]].concat());
    let _ = user.tool(&health).env("INKPOT_SERVER_NAME", "inkpot.internal").run("").exit(0);
}

#[test]
fn client_shows_its_certificate_to_a_server_that_asks() {
    let (server, user, ours, clients) = (server(), User::new(), Ca::new("ours"), Ca::new("clients"));
    let front = Front::new(&server, &ours, "localhost", Some(&clients));
    let (endpoint, ca, token) = (front.endpoint(), user.ca("ca.pem", &ours), user.file("token", TOKEN));
    let to = ["--endpoint", &endpoint, "--ca-file", &ca, "--token-file", &token];
    let ([certificate, key], [other, other_key]) = (user.pair("client", &clients), user.pair("other", &ours));
    let known = [&to[..], &["--client-cert", &certificate, "--client-key", &key]].concat();
    let unknown = [&to[..], &["--client-cert", &other, "--client-key", &other_key]].concat();
    wait_until_it_serves(&user, &known);
    let _ = user.tool(&[&["append", "f"], &known[..]].concat()).run("line\n").exit(0);
    assert_eq!(user.run(&[&["cat", "f"], &known[..]].concat()).exit(0).text(), "line\n");
    for command in [&["cat", "f"][..], &["health"]] {
        turned_away(user.run(&[command, &to].concat()), "CertificateRequired");
        turned_away(user.run(&[command, &unknown].concat()), "UnknownCA");
    }
    let by_variables = user.tool(&[&["health"], &to[..]].concat()).env("INKPOT_CLIENT_CERT", &certificate);
    let _ = by_variables.env("INKPOT_CLIENT_KEY", &key).run("").exit(0);
}

#[test]
fn context_is_complete_and_its_tls_settings_are_for_its_own_server_alone() {
    let (server, user, ours, clients) = (server(), User::new(), Ca::new("ours"), Ca::new("clients"));
    let front = Front::new(&server, &ours, "inkpot.internal", Some(&clients));
    let (endpoint, ca, token) = (front.endpoint(), user.ca("ca.pem", &ours), user.file("token", TOKEN));
    let [certificate, key] = user.pair("client", &clients);
    // Relative paths are kept as absolute ones.
    let options = ["--endpoint", &endpoint, "--token-file", "token", "--ca-file", "ca.pem"];
    let pair = ["--client-cert", "./client.pem", "--client-key", "client.key", "--server-name", "inkpot.internal"];
    let mut add = user.tool(&[&["context", "add", "prod"], &options[..], &pair].concat()).command();
    assert!(add.current_dir(user.0.path()).status().unwrap().success());
    let tls = json!({
        "ca_file": ca, "client_cert": certificate, "client_key": key, "server_name": "inkpot.internal",
    });
    let _ = user.run(&["context", "use", "prod"]).exit(0);
    let shown = user.show(&[]);
    assert_eq!((&shown["tls"], &shown["token_from"], &shown["endpoint"]), (&tls, &json!(token), &json!(endpoint)));
    let listed = user.run(&["context", "ls", "--output", "json"]).exit(0).json();
    assert_eq!((&listed["name"], &listed["tls"]), (&json!("prod"), &tls));
    for command in ["show", "ls"] {
        let text = user.run(&["context", command]).exit(0).text();
        let parts = [("ca-file", ca.as_str()), ("client-cert", &certificate), ("client-key", &key)];
        for (option, value) in parts.into_iter().chain([("server-name", "inkpot.internal")]) {
            let words = text.split_ascii_whitespace().map(|word| word.trim_start_matches("--")).collect::<Vec<_>>();
            assert!(words.windows(2).any(|pair| pair == [option, value]), "{option} {value}: {text}");
        }
    }
    wait_until_it_serves(&user, &[]);
    let _ = user.tool(&["append", "f"]).run("line\n").exit(0);
    assert_eq!(user.run(&["cat", "f"]).exit(0).text(), "line\n");
    // What is given wins, piece by piece, but for the pair.
    let theirs = user.ca("theirs.pem", &Ca::new("theirs"));
    let _ = user.run(&["cat", "f", "--ca-file", &theirs]).exit(1).says("UnknownIssuer");
    let _ = user.run(&["cat", "f", "--server-name", "localhost"]).exit(1).says("not valid for name \"localhost\"");
    let [other, other_key] = user.pair("other", &ours);
    let other = ["--client-cert", &other, "--client-key", &other_key];
    turned_away(user.run(&[&["cat", "f"], &other[..]].concat()), "UnknownCA");
    let _ = user.run(&["cat", "f", "--client-key", &key]).exit(2).says("--client-key needs --client-cert");
    // A server that is named otherwise is shown nothing, though it is the same one.
    let named = ["--endpoint", &endpoint, "--ca-file", &ca, "--server-name", "inkpot.internal"];
    for command in [&["cat", "f"][..], &["health"]] {
        turned_away(user.run(&[command, &named].concat()), "CertificateRequired");
    }
    assert_eq!(user.show(&["--endpoint", &endpoint])["tls"], json!({}));
}

#[test]
fn settings_that_cannot_be_used_are_told_with_file_and_option() {
    let (user, ours) = (User::new(), Ca::new("ours"));
    let (ca, text) = (user.ca("ca.pem", &ours), user.file("text", "not PEM"));
    let ([certificate, key], [_, other_key]) = (user.pair("a", &ours), user.pair("b", &ours));
    let table: [(&[&str], &[&str]); 8] = [
        (&["--ca-file", "/nowhere/ca.pem"], &["/nowhere/ca.pem cannot be read: No such file", "see --ca-file"]),
        (&["--ca-file", &text], &[&text, "BEGIN CERTIFICATE", "see --ca-file"]),
        (&["--ca-file", &ca, "--client-cert", &text, "--client-key", &key], &[&text, "see --client-cert"]),
        (&["--client-cert", &certificate, "--client-key", &text], &[&text, "PRIVATE KEY", "see --client-key"]),
        (&["--client-cert", &certificate, "--client-key", &other_key], &["see --client-cert, --client-key"]),
        (&["--client-cert", &certificate], &["--client-cert needs --client-key"]),
        (&["--client-key", &key], &["--client-key needs --client-cert"]),
        (&["--ca-file", &ca, "--server-name", "a b"], &["\"a b\"", "see --server-name"]),
    ];
    let commands: [&[&str]; 5] =
        [&["ls"], &["append", "f"], &["tail", "-f", "f"], &["health"], &["context", "add", "x"]];
    for (options, words) in table {
        for command in commands {
            let ended = user.run(&[command, &["--endpoint", "https://localhost:1"], options].concat()).exit(2);
            let missing: Vec<_> = words.iter().filter(|word| !ended.stderr.contains(**word)).collect();
            assert!(missing.is_empty() && ended.text().is_empty(), "{command:?} {missing:?}: {}", ended.stderr);
        }
    }
    let _ = user.run(&["bench", "--endpoint", "https://localhost:1", "--ca-file", &text]).exit(2).says(&text);
    assert_eq!(user.run(&["context", "ls"]).exit(0).text(), "", "none of these was kept");
    // In clear text there is nothing that they could be used for.
    for command in commands {
        let clear = ["--endpoint", "http://localhost:1", "--ca-file", &ca];
        let _ = user.run(&[command, &clear].concat()).exit(2).says("need https://; see --ca-file");
    }
}

#[test]
fn one_side_that_speaks_tls_alone_is_said() {
    let (server, user, ours) = (server(), User::new(), Ca::new("ours"));
    let front = Front::new(&server, &ours, "localhost", None);
    let (clear, ca) = (front.endpoint().replace("https", "http"), user.ca("ca.pem", &ours));
    let _ = user.run(&["ls", "--endpoint", &clear]).exit(1).says("the endpoint must begin with https://");
    let tls = server.endpoint().replace("http", "https");
    let ended = user.run(&["ls", "--endpoint", &tls, "--ca-file", &ca]).exit(1);
    assert!(ended.stderr.contains("the endpoint must then begin with http://"), "{}", ended.stderr);
    for args in [&["--endpoint", &clear][..], &["--endpoint", &tls, "--ca-file", &ca]] {
        let _ = user.run(&[&["health"], args].concat()).exit(1).says("is it the right one");
    }
}
