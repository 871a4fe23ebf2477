//! One connection: the bytes go through as they are, and are looked at on the way.
//!
//! When a bound is passed the connection says GOAWAY, where a frame may begin in what it sends, and fails; the HTTP/2
//! library then drops it with all its streams, as it does when a peer vanishes.

use super::{
    Bounds, Complaints,
    frames::{END_STREAM, Frames, Head, kind},
    meter::Meter,
    socket::Socket,
};
use crate::telemetry::ConnectionLimit;
use std::{
    collections::BTreeSet,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Error codes of HTTP/2 (RFC 9113, section 7).
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection that is watched.
pub struct Connection {
    socket: Socket,
    peer: SocketAddr,
    bounds: Bounds,
    complaints: Arc<Complaints>,
    received: Frames,
    sent: Frames,
    meter: Meter,
    /// Streams that have begun and not ended.
    open: BTreeSet<u32>,
    last_stream: u32,
    /// Whether preface and first frame have come.
    has_spoken: bool,
    /// Since when the client has been in the middle of something, or has had no call.
    midway_since: Option<Instant>,
    idle_since: Instant,
    /// Since when it has taken nothing of what is to be written.
    blocked_since: Option<Instant>,
    /// What ends it, once that is so, and whether the client was told.
    verdict: Option<ConnectionLimit>,
    is_told: bool,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(socket: Socket, peer: SocketAddr, bounds: Bounds, complaints: Arc<Complaints>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            peer,
            bounds,
            complaints,
            received: Frames::of_client(),
            sent: Frames::default(),
            meter: Meter::new(bounds.control_frames_per_second, now),
            open: BTreeSet::new(),
            last_stream: 0,
            has_spoken: false,
            midway_since: None,
            idle_since: now,
            blocked_since: None,
            verdict: None,
            is_told: false,
            timer: Box::pin(sleep_until(now + bounds.handshake)),
        }
    }

    fn took(&mut self, bytes: &[u8], now: Instant) {
        let mut received = std::mem::take(&mut self.received);
        let was_whole = received.feed(bytes, |head| self.took_frame(head, now));
        // What is incomplete now began with these bytes, or goes on since before them.
        let began = self.midway_since.filter(|_| !was_whole).unwrap_or(now);
        self.midway_since = received.is_midway().then_some(began);
        self.received = received;
    }

    fn took_frame(&mut self, head: Head, now: Instant) {
        self.has_spoken = true;
        match head.kind {
            kind::HEADERS if head.stream > self.last_stream => {
                self.last_stream = head.stream;
                self.open.insert(head.stream);
            }
            kind::RST_STREAM => self.ended(head.stream, now),
            _ => {}
        }
        if self.meter.received(head, now) {
            self.verdict.get_or_insert(ConnectionLimit::ControlFrames);
        }
    }

    fn gave(&mut self, bytes: &[u8]) {
        let mut sent = std::mem::take(&mut self.sent);
        sent.feed(bytes, |head| {
            self.meter.sent(head);
            let is_last = matches!(head.kind, kind::DATA | kind::HEADERS) && head.flags & END_STREAM != 0;
            if is_last || head.kind == kind::RST_STREAM {
                self.ended(head.stream, Instant::now());
            }
        });
        self.sent = sent;
    }

    fn ended(&mut self, stream: u32, now: Instant) {
        if self.open.remove(&stream) && self.open.is_empty() {
            self.idle_since = now;
        }
    }

    /// The next moment at which something will have taken too long, and what.
    fn deadline(&self) -> Option<(Instant, ConnectionLimit)> {
        if !self.has_spoken {
            // The timer was set when the connection began.
            return Some((self.timer.deadline(), ConnectionLimit::Handshake));
        }
        let frame = self
            .midway_since
            .into_iter()
            .chain(self.blocked_since)
            .min()
            .map(|since| (since + self.bounds.frame, ConnectionLimit::Frame));
        let idle = self.open.is_empty().then(|| (self.idle_since + self.bounds.idle, ConnectionLimit::Idle));
        frame.into_iter().chain(idle).min_by_key(|(at, _)| *at)
    }

    /// Looks at the clock, and sees to it that somebody looks again.
    fn watch(&mut self, cx: &mut Context<'_>) {
        while self.verdict.is_none() {
            let Some((at, verdict)) = self.deadline() else { return };
            if at <= Instant::now() {
                self.verdict = Some(verdict);
            } else {
                // One that goes off too early costs a look; setting it with each frame would cost more.
                if self.timer.deadline() > at || self.timer.is_elapsed() {
                    self.timer.as_mut().reset(at);
                }
                if self.timer.as_mut().poll(cx).is_pending() {
                    return;
                }
            }
        }
    }

    /// Looks at the clock, and tells once why the connection has to end, if it has to.
    fn end(&mut self, cx: &mut Context<'_>) -> Option<ConnectionLimit> {
        self.watch(cx);
        let verdict = self.verdict?;
        if !std::mem::replace(&mut self.is_told, true) {
            self.tell(verdict, cx);
        }
        Some(verdict)
    }

    /// Tells the client, if a frame may begin in what it gets, and the log.
    fn tell(&mut self, verdict: ConnectionLimit, cx: &mut Context<'_>) {
        if self.has_spoken && self.sent.is_between() {
            let code = if verdict == ConnectionLimit::Idle { NO_ERROR } else { ENHANCE_YOUR_CALM };
            let frame = go_away(self.last_stream, code, verdict.name());
            self.socket.say_last(cx, &frame);
        }
        let (peer, limit) = (self.peer, verdict.name());
        self.complaints.refuse(verdict);
        if verdict == ConnectionLimit::Idle {
            tracing::debug!(%peer, limit, "connection closed");
        } else {
            self.complaints.tell(format_args!("connection from {peer} closed: beyond {limit}"));
        }
    }
}

/// The frame that says that no stream beyond `last` will be answered, and why.
fn go_away(last: u32, code: u32, why: &str) -> Vec<u8> {
    let length = u32::try_from(8 + why.len()).unwrap_or_default().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind::GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last.to_be_bytes());
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(why.as_bytes());
    frame
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            this.took(&buf.filled()[before..], Instant::now());
        }
        let Some(verdict) = this.end(cx) else { return read };
        buf.set_filled(before);
        // The library has nothing open, so that it may end as if the client had closed.
        Poll::Ready(if verdict == ConnectionLimit::Idle { Ok(()) } else { Err(io::Error::other(verdict.name())) })
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // A peer that takes nothing keeps the library from reading, so the clock is looked at here too.
        if let Some(verdict) =
            this.end(cx).filter(|verdict| *verdict != ConnectionLimit::Idle || this.socket.has_more_to_say())
        {
            return Poll::Ready(Err(io::Error::other(verdict.name())));
        }
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, parts);
        if written.is_pending() {
            this.blocked_since.get_or_insert_with(Instant::now);
            // Nothing else may wake this task.
            this.watch(cx);
            if this.verdict.is_some() {
                cx.waker().wake_by_ref();
            }
        } else {
            this.blocked_since = None;
        }
        if let Poll::Ready(Ok(mut left)) = written {
            for part in parts {
                let taken = left.min(part.len());
                this.gave(&part[..taken]);
                left -= taken;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}
