//! The socket of a connection, which outlives it by a moment: closing one that has unread bytes makes the system send a
//! reset, and what was said last, as why the connection ends, is lost with that. So it is only half closed at first, and
//! what still comes is read and dropped.

use super::places::Place;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    time::timeout,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long a client may take to read what was said last, and to close.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// What is read and dropped meanwhile, at most; then the client may send no more, and can still read.
const LINGER_BYTES: usize = 16 << 20;
const PIECE_BYTES: usize = 16 << 10;

/// A socket, and its place among the others.
#[derive(Debug)]
pub(super) struct Socket {
    /// Gone only while this is dropped.
    parts: Option<(TcpStream, Place)>,
    linger: Duration,
    /// What is still to be written when this is dropped.
    last_words: Vec<u8>,
    /// Whether there is nobody to tell anything: the client has closed, or the socket has failed.
    is_over: bool,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, place: Place, linger: Duration) -> Self {
        Self { parts: Some((tcp, place)), linger, last_words: Vec::new(), is_over: false }
    }

    /// Writes whole frames behind which nothing is written any more; what does not go out at once goes out after this is
    /// dropped.
    pub(super) fn say_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let written = match self.tcp().poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => written,
            _ => 0,
        };
        self.last_words = bytes[written..].to_vec();
    }

    /// Whether what is said last has not gone out yet.
    pub(super) fn has_more_to_say(&self) -> bool {
        !self.last_words.is_empty()
    }

    fn tcp(&mut self) -> Pin<&mut TcpStream> {
        let (tcp, _) = self.parts.as_mut().expect("it is not dropped yet");
        Pin::new(tcp)
    }

    fn note<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.is_over |= matches!(result, Poll::Ready(Err(_)));
        result
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Without a runtime the server is at its end too.
        if let (Some((tcp, place)), false, Ok(runtime)) = (self.parts.take(), self.is_over, Handle::try_current()) {
            runtime.spawn(linger(tcp, place, std::mem::take(&mut self.last_words), self.linger));
        }
    }
}

/// Says what is left to say and that nothing more comes, and reads until the client says so too, or time is up.
async fn linger(tcp: TcpStream, _place: Place, last_words: Vec<u8>, time: Duration) {
    let (reader, mut writer) = tcp.into_split();
    let saying = async {
        writer.write_all(&last_words).await?;
        writer.shutdown().await
    };
    let reading = async {
        let mut left = LINGER_BYTES;
        while left > 0 {
            reader.readable().await?;
            // Not kept while waiting: there may be many of these.
            match reader.try_read(&mut [0; PIECE_BYTES]) {
                Ok(0) => return io::Result::Ok(()),
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        std::future::pending().await
    };
    // However it ends, it is over.
    let _ = timeout(time, async { tokio::try_join!(saying, reading) }).await;
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, had_room) = (buf.filled().len(), buf.remaining() > 0);
        let read = this.tcp().poll_read(cx, buf);
        this.is_over |= matches!(read, Poll::Ready(Ok(()))) && had_room && buf.filled().len() == before;
        this.note(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.tcp().poll_write(cx, bytes);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.tcp().poll_write_vectored(cx, parts);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.parts.as_ref().is_some_and(|(tcp, _)| tcp.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp().poll_shutdown(cx)
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let (tcp, _) = self.parts.as_ref().expect("it is not dropped yet");
        tcp.connect_info()
    }
}
