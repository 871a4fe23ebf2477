//! The simulated network, as tonic wants it.

use futures_util::{Stream, stream};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{codegen::http::Uri, transport::server::Connected};
use turmoil::net::{TcpListener, TcpStream};

/// A connection of the simulated network.
pub struct Connection(TcpStream);

/// The connections that a server takes.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Connection(stream));
        Some((accepted, listener))
    })
}

/// Connects to the endpoint of a client.
pub async fn connect(uri: Uri) -> io::Result<Connection> {
    let authority = uri.authority().ok_or_else(|| io::Error::other("an endpoint without a host"))?;
    TcpStream::connect(authority.as_str()).await.map(Connection)
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
