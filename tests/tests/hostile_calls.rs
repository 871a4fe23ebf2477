//! Calls that are no gRPC, and calls that are and make no sense, on a connection that speaks HTTP/2 as it should: each gets
//! the answer that is promised, and the connection serves the next call.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode, request::Builder};
use inkpot_proto::v1::AppendRequest;
use inkpot_tests::{
    Server,
    harness::{
        PATIENCE,
        honest::{self, HOSTILE_TOKEN, Honest},
        http2,
        memory::{self, MIB},
        session::{unary, within},
    },
};
use tokio::net::TcpStream;
use tonic::Code;

const APPEND: &str = "/inkpot.v1.WriteService/Append";
const BOUND: usize = 64 * MIB;

/// A connection whose frames are in order; what calls say is up to the test.
struct Caller {
    requests: SendRequest<Bytes>,
}

/// What a call was answered with.
#[derive(Debug)]
struct Answer {
    http: StatusCode,
    /// Of gRPC, wherever it stands.
    code: Option<Code>,
}

impl Caller {
    async fn connect(server: &Server) -> Self {
        let tcp = TcpStream::connect(server.address()).await.unwrap();
        let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
        // Ends with the connection, whatever becomes of it.
        tokio::spawn(connection);
        Self { requests }
    }

    async fn call(&mut self, head: Builder, body: Option<Vec<u8>>) -> Answer {
        let mut requests = within(PATIENCE, "room for a call", self.requests.clone().ready()).await.unwrap();
        let (answer, mut stream) = requests.send_request(head.body(()).unwrap(), body.is_none()).unwrap();
        if let Some(body) = body {
            stream.send_data(body.into(), true).unwrap();
        }
        answer_of(within(PATIENCE, "an answer", answer).await.unwrap()).await
    }
}

async fn answer_of(answer: Response<h2::RecvStream>) -> Answer {
    let code = |headers: &http::HeaderMap| headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    let (head, mut body) = answer.into_parts();
    while let Some(piece) = within(PATIENCE, "content", body.data()).await {
        let _ = body.flow_control().release_capacity(piece.unwrap().len());
    }
    let trailers = within(PATIENCE, "trailers", body.trailers()).await.unwrap();
    Answer { http: head.status, code: code(&head.headers).or_else(|| trailers.as_ref().and_then(code)) }
}

/// A call as it should be, but for what the test changes.
fn head(path: &str) -> Builder {
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {HOSTILE_TOKEN}"))
}

fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn right() -> AppendRequest {
    unary("f", "x\n")
}

/// What the server answers after all else.
async fn assert_serves(caller: &mut Caller) {
    let answer = caller.call(head(APPEND), Some(http2::message_bytes(&right()))).await;
    assert_eq!((answer.http, answer.code), (StatusCode::OK, Some(Code::Ok)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_call_gets_an_answer_of_http() {
    let server = Server::start(honest::setup());
    let mut caller = Caller::connect(&server).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for path in ["/", APPEND] {
            let answer = caller.call(head(path).method(method.clone()), None).await;
            assert_eq!(answer.http, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}: {answer:?}");
        }
    }
    for content in ["application/json", "text/html", "application/grpc-web", "application/grpcx", ""] {
        let mut head = head(APPEND);
        head.headers_mut().unwrap().insert("content-type", content.parse().unwrap());
        let answer = caller.call(head, Some(Vec::new())).await;
        assert_eq!(answer.http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content}: {answer:?}");
    }
    assert_serves(&mut caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_call_that_makes_no_sense_gets_its_code() {
    let server = Server::start(honest::setup());
    let honest = Honest::start(&server).await;
    let mut caller = Caller::connect(&server).await;
    let too_long = [&[0][..], &(5_u32 << 20).to_be_bytes(), &[1; 100]].concat();
    let four_gib = [&[0][..], &u32::MAX.to_be_bytes(), &[1; 100]].concat();
    let garbage: Vec<u8> = (0..=255).rev().collect();
    // A group that is opened and never closed, in itself, ten thousand times.
    let nested = vec![0x0b; 10_000];
    let cases: [(&str, Vec<u8>, Code); 9] = [
        ("/nothing", Vec::new(), Code::Unimplemented),
        ("/inkpot.v1.WriteService/Nothing", message(&[]), Code::Unimplemented),
        ("/inkpot.v1.WriteService/Append/more", message(&[]), Code::Unimplemented),
        (APPEND, message(&garbage), Code::InvalidArgument),
        (APPEND, message(&nested), Code::InvalidArgument),
        (APPEND, message(&[])[..3].to_vec(), Code::InvalidArgument),
        (APPEND, too_long, Code::ResourceExhausted),
        (APPEND, four_gib, Code::ResourceExhausted),
        (APPEND, [vec![1], message(&[])[1..].to_vec()].concat(), Code::InvalidArgument),
    ];
    for (path, body, code) in cases {
        let answer = caller.call(head(path), Some(body)).await;
        assert_eq!((answer.http, answer.code), (StatusCode::OK, Some(code)), "{path}");
    }
    assert_serves(&mut caller).await;
    honest.goes_on().await;
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_the_limit_are_refused_and_the_connection_goes_on() {
    let server = Server::start(honest::setup().config("[limits]\nheader_bytes = \"4KiB\""));
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let mut caller = Caller::connect(&server).await;
    assert_serves(&mut caller).await;
    let giant = |bytes: usize| head(APPEND).header("x-giant", "y".repeat(bytes));
    let answer = caller.call(giant(4 << 10), Some(http2::message_bytes(&right()))).await;
    assert_eq!(answer.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{answer:?}");
    // Many small ones are as many bytes.
    let mut many = head(APPEND);
    for number in 0..200 {
        many = many.header(format!("x-{number}"), "y");
    }
    let answer = caller.call(many, Some(http2::message_bytes(&right()))).await;
    assert_eq!(answer.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{answer:?}");
    assert_serves(&mut caller).await;
    // Far more is no mistake.
    let mut requests = Caller::connect(&server).await.requests.ready().await.unwrap();
    let (answer, _) = requests.send_request(giant(60 << 10).body(()).unwrap(), true).unwrap();
    let error = within(PATIENCE, "an answer", answer).await.expect_err("the connection is closed");
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error:?}");
    honest.goes_on().await;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    assert!(grown < BOUND, "{} MiB more memory, {} MiB is the bound", grown / MIB, BOUND / MIB);
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_that_never_sends_its_request_ends_at_the_longest_deadline() {
    let server = Server::start(honest::setup().config("[limits]\ndeadline_max = \"1s\""));
    let caller = Caller::connect(&server).await;
    let mut requests = within(PATIENCE, "room for a call", caller.requests.clone().ready()).await.unwrap();
    let (answer, mut stream) = requests.send_request(head(APPEND).body(()).unwrap(), false).unwrap();
    let whole = http2::message_bytes(&right());
    stream.send_data(whole[..whole.len() / 2].to_vec().into(), false).unwrap();
    let answer = answer_of(within(PATIENCE, "an answer", answer).await.unwrap()).await;
    assert_eq!(answer.code, Some(Code::DeadlineExceeded), "{answer:?}");
    assert!(!server.plain_of("hostile", "f").exists());
}
