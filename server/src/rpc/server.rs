//! The gRPC server: the services, the layers around them, and the settings of HTTP/2.

use super::{
    Admin, Files, Services, Writes,
    layers::{CodesLayer, DeadlineLayer, IdentityLayer, TraceLayer},
    routes::Routes,
};
use inkpot_proto::{
    FILE_DESCRIPTOR_SET,
    limits::{HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, HTTP2_STREAM_WINDOW_BYTES, MAX_MESSAGE_BYTES},
    v1::{
        admin_service_server::AdminServiceServer, file_service_server::FileServiceServer,
        write_service_server::WriteServiceServer,
    },
};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, Server};
use tonic_health::pb::{
    FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTOR_SET,
    health_server::{Health, HealthServer},
};

/// How often a silent connection is asked whether it is alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What stops the server before it was asked to stop.
pub type ServeError = Box<dyn Error + Send + Sync>;

/// Serves until `shutdown` is done and every call has ended. Sessions and followers end by [`Services::drain`], not by
/// `shutdown`, so that the caller decides on the stages of a stop and their deadlines.
///
/// # Errors
/// Those of the transport, and of building the reflection service.
pub async fn serve_on<H, IO, E>(
    incoming: impl Stream<Item = Result<IO, E>>,
    services: Arc<Services>,
    health: HealthServer<H>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    H: Health,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<ServeError> + 'static,
{
    let (config, calls) = (Arc::clone(&services.config), services.calls.clone());
    let routes = routes(services, health)?;
    let limits = &config.limits;
    let server = Server::builder()
        .max_frame_size(HTTP2_FRAME_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(TraceLayer::new(calls))
        .layer(CodesLayer)
        .layer(IdentityLayer::new(&config))
        .layer(DeadlineLayer::new(limits.deadline_max));
    Ok(server.serve_with_incoming_shutdown(routes, incoming, shutdown).await?)
}

fn routes<H: Health>(services: Arc<Services>, health: HealthServer<H>) -> Result<Routes, ServeError> {
    let development = services.config.development();
    let writes = WriteServiceServer::new(Writes::new(Arc::clone(&services)));
    let files = FileServiceServer::new(Files::new(Arc::clone(&services)));
    let admin = AdminServiceServer::new(Admin::new(services));
    let routes = Routes::default()
        .with(writes.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .with(files.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .with(admin.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .with(health);
    if development { with_reflection(routes) } else { Ok(routes) }
}

/// Names and fields of everything served, for tools; not for strangers.
fn with_reflection(routes: Routes) -> Result<Routes, ServeError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(HEALTH_DESCRIPTOR_SET)
    };
    Ok(routes.with(builder().build_v1()?).with(builder().build_v1alpha()?))
}

#[cfg(test)]
mod tests;
