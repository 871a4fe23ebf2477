//! HTTP/2 by hand (RFC 9113), for what no library lets a client do. It counts no windows, keeps no state of streams and
//! checks nothing: whatever the test writes goes out.

use super::{PATIENCE, server::Server, session::within};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// Bytes of a frame before what it carries.
pub const HEAD_BYTES: usize = 9;
/// What a client sends before anything else.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a server may take to have enough of a flood.
const FLOOD_PATIENCE: Duration = Duration::from_secs(60);
/// Largest payload that a frame of a server may have here.
const FRAME_BYTES: usize = 16 << 10;

/// Types of frames.
pub mod kind {
    /// Content of a stream.
    pub const DATA: u8 = 0;
    /// The beginning of a stream, or its trailers.
    pub const HEADERS: u8 = 1;
    /// Says nothing any more.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream at once.
    pub const RST_STREAM: u8 = 3;
    /// Settings, or that they were taken.
    pub const SETTINGS: u8 = 4;
    /// To be sent back.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more content.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a block of headers.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// Nothing comes after it on the stream.
    pub const END_STREAM: u8 = 1;
    /// Settings or a ping were taken.
    pub const ACK: u8 = 1;
    /// The block of headers is complete.
    pub const END_HEADERS: u8 = 4;
}

/// Codes of errors.
pub mod code {
    /// Nothing is wrong.
    pub const NO_ERROR: u32 = 0;
    /// A stream was not begun.
    pub const REFUSED_STREAM: u32 = 7;
    /// A stream is not wanted any more.
    pub const CANCEL: u32 = 8;
    /// Too much of something.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// The setting for the window of each new stream.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Code and words of the last GOAWAY that was no announcement of a stop.
    pub go_away: Option<(u32, String)>,
    /// Streams that were reset, with their codes.
    pub resets: Vec<(u32, u32)>,
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    tcp: TcpStream,
}

impl Raw {
    /// Connects, and says nothing.
    pub async fn connect(server: &Server) -> Self {
        let connecting = TcpStream::connect(server.address());
        let tcp = within(PATIENCE, "a connection", connecting).await.expect("the server takes connections");
        tcp.set_nodelay(true).expect("a socket");
        Self { tcp }
    }

    /// As [`Raw::start`], with next to no room for what the server sends: it cannot send more until this reads.
    pub async fn start_deaf(server: &Server, settings: &[(u16, u32)]) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a socket has a buffer");
        let tcp = within(PATIENCE, "a connection", socket.connect(server.address()))
            .await
            .expect("the server takes connections");
        let mut raw = Self { tcp };
        raw.send(PREFACE).await.expect("a new connection takes bytes");
        raw.send(&settings_frame(settings)).await.expect("a new connection takes bytes");
        raw
    }

    /// Connects, and says what a client has to say first.
    pub async fn start(server: &Server, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::connect(server).await;
        raw.send(PREFACE).await.expect("a new connection takes bytes");
        raw.send(&settings_frame(settings)).await.expect("a new connection takes bytes");
        raw
    }

    /// As [`Raw::start`], and takes the settings of the server: its windows hold from then on.
    pub async fn start_and_settle(server: &Server, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::start(server, settings).await;
        raw.until("settings", |frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0).await;
        raw.send(&frame(kind::SETTINGS, flag::ACK, 0, &[])).await.expect("a new connection takes bytes");
        raw
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the server has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(PATIENCE, "the connection takes bytes", self.tcp.write_all(bytes)).await
    }

    /// The next frame; `None` if the server has closed.
    ///
    /// # Panics
    /// If nothing comes for a long time.
    pub async fn next(&mut self) -> Option<Frame> {
        within(PATIENCE, "a frame", read_frame(&mut self.tcp)).await
    }

    /// Passes over frames until one fits.
    ///
    /// # Panics
    /// If the server closes before.
    pub async fn until(&mut self, what: &str, fits: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            match self.next().await {
                Some(frame) if fits(&frame) => return frame,
                Some(_) => {}
                None => panic!("the server closed before {what}"),
            }
        }
    }

    /// Reads until the server closes.
    ///
    /// # Panics
    /// If it does not.
    pub async fn end(&mut self) -> End {
        within(FLOOD_PATIENCE, "the server closes the connection", read_to_end(&mut self.tcp)).await
    }

    /// Reads and drops what comes, and answers pings, as a client that is there and wants nothing.
    ///
    /// # Panics
    /// If the server closes.
    pub async fn stay(&mut self) {
        while let Some(came) = read_frame(&mut self.tcp).await {
            if came.kind == kind::PING && came.flags & flag::ACK == 0 {
                self.send(&frame(kind::PING, flag::ACK, 0, &came.payload)).await.expect("the server takes bytes");
            }
        }
        panic!("the server closed a connection that answers its pings");
    }

    /// Sends pieces without a pause, reading meanwhile, until the server closes.
    ///
    /// # Panics
    /// If it does not have enough of it.
    pub async fn flood(self, piece: impl FnMut() -> Vec<u8>) -> End {
        self.send_slowly(Duration::ZERO, std::iter::repeat_with(piece)).await
    }

    /// Sends pieces with a pause behind each, reading meanwhile, until the server closes.
    ///
    /// # Panics
    /// If it takes all of them.
    pub async fn send_slowly(mut self, pause: Duration, mut pieces: impl Iterator<Item = Vec<u8>>) -> End {
        let (mut reader, mut writer) = self.tcp.split();
        let writing = async {
            loop {
                let piece = pieces.next().expect("the server has enough of it before the end");
                if writer.write_all(&piece).await.is_err() {
                    // What the server said last is still to be read.
                    return std::future::pending::<()>().await;
                }
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
        };
        let sending = async {
            tokio::select! {
                end = read_to_end(&mut reader) => end,
                () = writing => unreachable!(),
            }
        };
        timeout(FLOOD_PATIENCE, sending).await.expect("the server has enough of it")
    }
}

async fn read_to_end(from: &mut (impl AsyncReadExt + Unpin)) -> End {
    let mut end = End::default();
    while let Some(frame) = read_frame(from).await {
        match frame.kind {
            kind::GOAWAY => {
                let words = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
                end.go_away = Some((word(&frame.payload[4..]), words));
            }
            kind::RST_STREAM => end.resets.push((frame.stream, word(&frame.payload))),
            _ => {}
        }
    }
    end
}

/// `None` at the end, whether the server closed or reset the connection.
async fn read_frame(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Frame> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    assert!(length <= FRAME_BYTES, "the server sends a frame of {length} bytes, which nobody allowed");
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(*bytes.first_chunk().expect("a frame with a code"))
}

/// A frame as bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(kind, flags, stream, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a frame whose payload has so many bytes.
#[must_use]
pub fn head(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat()
}

/// A SETTINGS frame.
#[must_use]
pub fn settings_frame(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())
}

/// The beginning of a call of a method, with a token.
#[must_use]
pub fn call(stream: u32, method: &str, token: &str) -> Vec<u8> {
    let credential = format!("Bearer {token}");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &credential),
    ];
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block(&fields))
}

/// The end of a stream at once.
#[must_use]
pub fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code::CANCEL.to_be_bytes())
}

/// A gRPC message as content of a stream.
#[must_use]
pub fn data(stream: u32, message: &impl prost::Message, flags: u8) -> Vec<u8> {
    frame(kind::DATA, flags, stream, &message_bytes(message))
}

/// A gRPC message with its length before it.
#[must_use]
pub fn message_bytes(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.encoded_len()).expect("a length").to_be_bytes());
    message.encode(&mut bytes).expect("a vector grows");
    bytes
}

/// Headers as literals that nobody remembers (RFC 7541, section 6.2.2).
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            put_length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// A number with a prefix of 7 bits (RFC 7541, section 5.1).
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    let Some(mut rest) = length.checked_sub(PREFIX) else { return bytes.push(length as u8) };
    bytes.push(PREFIX as u8);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}
