//! What makes the connections of a client: TCP, unless the application brings something else.

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::{fmt, future::Future, io, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint, Error},
};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Connection = TokioIo<Box<dyn Stream>>;

type Connect = dyn Fn(Uri) -> BoxFuture<'static, io::Result<Connection>> + Send + Sync;

/// Makes connections. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Connector(Option<Arc<Connect>>);

impl Connector {
    /// One that calls `connect` for each connection.
    pub(crate) fn new<F, S>(connect: impl Fn(Uri) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Some(Arc::new(move |uri| {
            let connecting = connect(uri);
            Box::pin(async move { Ok(TokioIo::new(Box::new(connecting.await?) as Box<dyn Stream>)) })
        })))
    }

    /// A connection, made now.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        match self.0.clone() {
            None => endpoint.connect().await,
            Some(connect) => endpoint.connect_with_connector(tower::service_fn(move |uri| connect(uri))).await,
        }
    }

    /// A connection that is made when it is needed, and again whenever it is lost.
    pub(crate) fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match self.0.clone() {
            None => endpoint.connect_lazy(),
            Some(connect) => endpoint.connect_with_connector_lazy(tower::service_fn(move |uri| connect(uri))),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "of the application" } else { "TCP" })
    }
}
