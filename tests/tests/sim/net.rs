//! The simulated network, as tonic wants it.

use futures_util::{Stream, stream};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io, mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{codegen::http::Uri, transport::server::Connected};
use turmoil::net::{TcpListener, TcpStream};

thread_local! {
    /// Connections of each client, dead ones too.
    static CONNECTIONS: RefCell<BTreeMap<usize, Vec<Arc<Ways>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A connection of the simulated network.
pub struct Connection {
    /// There until the end.
    stream: Option<TcpStream>,
    ways: Arc<Ways>,
}

/// Ways of a connection that lead nowhere, without either side being told.
#[derive(Debug, Default)]
struct Ways {
    to_server: AtomicBool,
    from_server: AtomicBool,
}

/// The connections that a client has by now lead nowhere, in these directions (to the server, from the server); new ones
/// work. The server is never told.
pub fn cut(client: usize, ways: (bool, bool)) {
    let connections = CONNECTIONS.with_borrow_mut(|all| mem::take(all.entry(client).or_default()));
    for connection in connections {
        connection.to_server.fetch_or(ways.0, Ordering::Relaxed);
        connection.from_server.fetch_or(ways.1, Ordering::Relaxed);
    }
}

/// The connections that a server takes.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Connection::new(stream));
        Some((accepted, listener))
    })
}

/// Connects a client to its endpoint.
pub async fn connect(uri: Uri, client: usize) -> io::Result<Connection> {
    let authority = uri.authority().ok_or_else(|| io::Error::other("an endpoint without a host"))?;
    let connection = Connection::new(TcpStream::connect(authority.as_str()).await?);
    CONNECTIONS.with_borrow_mut(|all| all.entry(client).or_default().push(Arc::clone(&connection.ways)));
    Ok(connection)
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), ways: Arc::default() }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().stream.as_mut().expect("there until the end"))
    }

    fn is_mute(&self) -> bool {
        self.ways.to_server.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The other side would be told: one that cannot say so is left as it is.
        if self.is_mute() {
            mem::forget(self.stream.take());
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        loop {
            let read = self.as_mut().stream().poll_read(cx, buf);
            let is_deaf = self.ways.from_server.load(Ordering::Relaxed);
            if read.is_pending() || !is_deaf {
                return read;
            }
            if buf.filled().len() == filled {
                // The other side has ended the connection, which is not heard.
                return Poll::Pending;
            }
            buf.set_filled(filled);
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_mute() { Poll::Ready(Ok(buf.len())) } else { self.stream().poll_write(cx, buf) }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_mute() { Poll::Ready(Ok(())) } else { self.stream().poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_mute() { Poll::Ready(Ok(())) } else { self.stream().poll_shutdown(cx) }
    }
}
