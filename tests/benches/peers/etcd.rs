//! etcd: a key per record, the puts of a batch in one transaction, over gRPC.

use super::{
    Peer,
    load::{self, Producer, Work},
    server::{Server, free_port},
};
use prost::{Message, Oneof};
use std::{collections::VecDeque, io};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

/// See the module.
pub struct Etcd;

impl Peer for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        durable.then_some("one member, a quota of 16 GiB; a key per record, the puts of a batch in one transaction")
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let server = Server::start("etcd", |port, folder| {
            let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()?));
            let data = folder.join("data").display().to_string();
            let args = [
                ["--data-dir", &data],
                ["--listen-client-urls", &client],
                ["--advertise-client-urls", &client],
                ["--listen-peer-urls", &peer],
                ["--initial-advertise-peer-urls", &peer],
                ["--initial-cluster", &format!("default={peer}")],
                ["--quota-backend-bytes", &(16_u64 << 30).to_string()],
                ["--max-txn-ops", "1000"],
            ];
            Ok(args.concat().into_iter().map(str::to_owned).collect())
        })?;
        load::run(work, |number| Ok(Box::new(Connection::new(&server, number)?)))
    }
}

/// Of `etcdserverpb`, what is sent.
#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(oneof = "Op", tags = "2")]
    op: Option<Op>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Op {
    #[prost(message, tag = "2")]
    Put(PutRequest),
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Of the answer, what tells that the puts were done.
#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

struct Connection {
    runtime: Runtime,
    channel: Channel,
    number: usize,
    keys: u64,
    /// Transactions on their way, with their records.
    sent: VecDeque<(usize, JoinHandle<io::Result<()>>)>,
}

impl Connection {
    fn new(server: &Server, number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", server.port)).map_err(io::Error::other)?;
        let channel = runtime.block_on(endpoint.connect()).map_err(io::Error::other)?;
        Ok(Self { runtime, channel, number, keys: 0, sent: VecDeque::new() })
    }
}

async fn put_all(channel: Channel, request: TxnRequest) -> io::Result<()> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(io::Error::other)?;
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Txn");
    let codec = tonic_prost::ProstCodec::<TxnRequest, TxnResponse>::default();
    let answer = client.unary(Request::new(request), path, codec).await.map_err(io::Error::other)?;
    if answer.into_inner().succeeded { Ok(()) } else { Err(io::Error::other("the transaction did not succeed")) }
}

impl Producer for Connection {
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()> {
        let mut request = TxnRequest::default();
        for record in records {
            self.keys += 1;
            let key = format!("{file}/{}/{}", self.number, self.keys).into_bytes();
            request.success.push(RequestOp { op: Some(Op::Put(PutRequest { key, value: record.to_vec() })) });
        }
        let answer = self.runtime.spawn(put_all(self.channel.clone(), request));
        self.sent.push_back((records.len(), answer));
        Ok(())
    }

    fn acknowledged(&mut self) -> io::Result<usize> {
        let (records, first) = self.sent.pop_front().expect("a batch was sent");
        self.runtime.block_on(first).map_err(io::Error::other)??;
        Ok(records)
    }
}
