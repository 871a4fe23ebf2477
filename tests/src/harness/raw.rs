//! Messages as bytes, for what the generated types cannot say: strings that are not UTF-8, bytes that are no message.

use super::session::{Token, within};
use super::{PATIENCE, server::Server};
use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    service::interceptor::InterceptedService,
    transport::Channel,
};

/// Hands bytes through.
#[derive(Clone, Copy, Debug, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

async fn grpc(server: &Server, token: Option<&str>) -> Grpc<InterceptedService<Channel, Token>> {
    let mut grpc = Grpc::new(InterceptedService::new(server.channel(), Token::new(token)));
    within(PATIENCE, "a connection", grpc.ready()).await.expect("a connection");
    grpc
}

/// Calls a unary method, as in `/inkpot.v1.WriteService/Append`, with the first token of the server.
///
/// # Errors
/// What the server says.
pub async fn unary(server: &Server, method: &'static str, message: Vec<u8>) -> Result<Bytes, Status> {
    let mut grpc = grpc(server, server.token()).await;
    let call = grpc.unary(Request::new(message.into()), method.parse().expect("a method"), BytesCodec);
    within(PATIENCE, method, call).await.map(tonic::Response::into_inner)
}

/// Calls a method with streams in both directions, sends these messages and half-closes.
///
/// # Errors
/// What the server says instead of a stream.
pub async fn stream(
    server: &Server,
    token: Option<&str>,
    method: &'static str,
    messages: Vec<Vec<u8>>,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = grpc(server, token).await;
    let messages = tokio_stream::iter(messages.into_iter().map(Bytes::from));
    let call = grpc.streaming(Request::new(messages), method.parse().expect("a method"), BytesCodec);
    within(PATIENCE, method, call).await.map(tonic::Response::into_inner)
}

/// A field of a message whose value is bytes: a string, a message, bytes.
#[must_use]
pub fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}
