//! How a client reaches its server, and the bounds that it keeps to. No I/O.

use crate::{
    Client, Error, Result,
    connector::Connector,
    error::described_transport,
    telemetry::{self, Telemetry},
    tls::{Pem, Tls, advice},
};
use inkpot_proto::limits::{DEFAULT_PORT, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, HTTP2_STREAM_WINDOW_BYTES};
use std::{
    fmt,
    future::Future,
    io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Request, Response, Status,
    codegen::http::Uri,
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without keepalive a partition goes unseen for minutes, while the window fills and everybody waits.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const IN_FLIGHT_APPENDS: u32 = 4096;
const IN_FLIGHT_BYTES: u64 = 16 << 20;

/// Settings of a [`Client`].
///
/// ```no_run
/// use inkpot_client::Client;
/// use std::time::Duration;
///
/// # async fn example(token: String) -> Result<(), inkpot_client::Error> {
/// let client = Client::builder("https://inkpot.example:7411")
///     .token(token)
///     .ca_file("/etc/inkpot/ca.pem") // without it: those of the system
///     .client_certificate_files("/etc/inkpot/client.pem", "/etc/inkpot/client.key") // only if the server asks
///     .give_up_after(Duration::from_secs(300))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// What cannot work is said at once:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use inkpot_client::Client;
///
/// let error = Client::builder("https://inkpot.example").ca_file("/nowhere/ca.pem").connect().await.unwrap_err();
/// assert!(error.to_string().contains("the CA /nowhere/ca.pem cannot be read"));
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    endpoint: String,
    token: Option<String>,
    connect_timeout: Duration,
    keepalive: (Duration, Duration),
    give_up_after: Duration,
    in_flight: (u32, u64),
    tls: Tls,
    connector: Connector,
}

/// The settings, checked.
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: Connector,
    token: Option<MetadataValue<Ascii>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) give_up_after: Duration,
    pub(crate) in_flight: (u32, u64),
    pub(crate) telemetry: Telemetry,
    /// Whether the server ever answered.
    answered: AtomicBool,
}

impl ClientBuilder {
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            token: None,
            connect_timeout: CONNECT_TIMEOUT,
            keepalive: (KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT),
            give_up_after: GIVE_UP_AFTER,
            in_flight: (IN_FLIGHT_APPENDS, IN_FLIGHT_BYTES),
            tls: Tls::default(),
            connector: Connector::default(),
        }
    }

    /// The bearer token that names the tenant. Sent with each call; never shown in `Debug` or errors.
    ///
    /// Over `http://` it goes in clear text, and whoever reads the wire has it: that is for loopback and for networks that
    /// encrypt by themselves (a service mesh, a VPN). Everywhere else, use `https://`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long one attempt to connect, and to get the first answer on the connection, may take. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often an HTTP/2 ping asks whether the server is still there, also when nothing is sent, and how long it
    /// has for the answer. Default: 10 s and 5 s. Servers end connections that ping more often than they allow.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keepalive = (interval, timeout);
        self
    }

    /// How long a channel may wait without any progress (an ack, or a connection on which its file was opened) before
    /// all who wait for it get an error of kind [`GaveUp`](crate::ErrorKind::GaveUp). A connection that opens the file
    /// but never acks is given three times as long. Default: 60 s.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }

    /// Window of each session: the most appends, and the most bytes of payload, that wait for their ack or for being
    /// sent. Bounds the memory of a session. A larger append passes when it has the window for itself.
    /// Default: 4096 appends and 16 MiB. At least 1 each.
    pub fn in_flight(mut self, appends: u32, bytes: u64) -> Self {
        self.in_flight = (appends, bytes);
        self
    }

    /// The certificates of the CAs that are believed, as a file in PEM, instead of those of the system. Needs `https://`;
    /// an endpoint without a scheme becomes that. Like all TLS files it is read once, by [`connect`](Self::connect).
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(Pem::File(path.into()));
        self
    }

    /// As [`ca_file`](Self::ca_file), from memory.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca = Some(Pem::Text(pem.into()));
        self
    }

    /// The certificate with which the client proves who it is (mTLS), followed by those of its intermediate CAs, and its
    /// key; both files in PEM. Needs `https://`, like `ca_file`. Default: none.
    pub fn client_certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.identity = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// As [`client_certificate_files`](Self::client_certificate_files), from memory.
    pub fn client_certificate_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((Pem::Text(certificate.into()), Pem::Text(key.into())));
        self
    }

    /// The name that the server's certificate must have, if it is not the host of the endpoint. Needs `https://`, like
    /// `ca_file`.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Makes each connection by calling `connect` with the endpoint, instead of over TCP: through a proxy, a socket of
    /// another kind, or a simulated network. TLS goes over what it gives, if the endpoint is `https`. The time to connect
    /// is bounded as ever.
    pub fn connector<F, S>(mut self, connect: impl Fn(Uri) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.connector = Connector::new(connect);
        self
    }

    /// Checks the settings. Connects when something is asked of the client.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if the endpoint is no `http` or `https` URI, the token is not visible ASCII, a
    /// time or bound is zero, or what was given for TLS cannot be used; it says which.
    #[allow(clippy::unused_async)] // must run inside a tokio runtime, and the signature says so
    pub async fn connect(self) -> Result<Client> {
        Ok(Client::new(self.settings()?))
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("keepalive interval", self.keepalive.0),
            ("keepalive timeout", self.keepalive.1),
            ("give_up_after", self.give_up_after),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(Error::config(format!("{name} must be longer than zero")));
        }
        if self.in_flight.0 == 0 || self.in_flight.1 == 0 {
            return Err(Error::config("in_flight must allow at least 1 append and 1 byte"));
        }
        Ok(Settings {
            endpoint: self.endpoint()?,
            connector: self.connector.clone(),
            token: self.bearer()?,
            connect_timeout: self.connect_timeout,
            give_up_after: self.give_up_after,
            in_flight: self.in_flight,
            telemetry: Telemetry::global(),
            answered: AtomicBool::new(false),
        })
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let uri = with_scheme(&self.endpoint, if self.tls.is_set() { "https" } else { "http" });
        let invalid = |why: &str| Error::config(format!("endpoint {:?} is not valid: {why}", self.endpoint));
        let endpoint = Endpoint::from_shared(uri).map_err(|error| invalid(&described_transport(&error)))?;
        match endpoint.uri().scheme_str() {
            Some("http") if self.tls.is_set() => return Err(invalid("the settings for TLS need https://")),
            Some("http" | "https") => {}
            _ => return Err(invalid("the scheme must be http or https")),
        }
        if endpoint.uri().authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // Without the endpoint itself: it holds what is to stay secret.
            return Err(Error::config("the endpoint has a user or a password in it; give a token instead"));
        }
        if endpoint.uri().host().is_none_or(str::is_empty) {
            return Err(invalid("it names no host"));
        }
        let endpoint = match endpoint.uri().scheme_str() {
            Some("https") => self.tls.apply(endpoint, self.connect_timeout)?,
            _ => endpoint,
        };
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(self.keepalive.0)
            .keep_alive_timeout(self.keepalive.1)
            .keep_alive_while_idle(true))
    }

    fn bearer(&self) -> Result<Option<MetadataValue<Ascii>>> {
        let Some(token) = &self.token else { return Ok(None) };
        let Ok(mut value) = MetadataValue::try_from(format!("Bearer {token}")) else {
            return Err(Error::config("the token must be visible ASCII on one line"));
        };
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// `host` and `host:port` are short for `scheme://host:port`.
fn with_scheme(endpoint: &str, scheme: &str) -> String {
    if endpoint.contains("://") {
        return endpoint.to_owned();
    }
    let after_brackets = endpoint.rsplit(']').next().unwrap_or(endpoint);
    let port = if after_brackets.contains(':') { String::new() } else { format!(":{DEFAULT_PORT}") };
    format!("{scheme}://{endpoint}{port}")
}

impl Settings {
    /// A request that says who asks, and in which span.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        telemetry::inject(request.metadata_mut());
        request
    }

    /// What came of a call.
    pub(crate) fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T> {
        match answer {
            Ok(answer) => {
                self.answered.store(true, Ordering::Relaxed);
                Ok(answer.into_inner())
            }
            Err(status) => Err(self.error(&status)),
        }
    }

    /// Why a call or stream failed.
    pub(crate) fn error(&self, status: &Status) -> Error {
        let error = Error::from_status(status);
        let advice = self.advice(error.message());
        error.at(self.endpoint.uri(), advice)
    }

    /// The server cannot be reached.
    pub(crate) fn unreachable(&self, why: &str) -> Error {
        Error::transport(format!("cannot reach {}: {why}{}", self.endpoint.uri(), self.advice(why)))
    }

    /// What may help against a failed connection, as long as none ever did what it should.
    fn advice(&self, words: &str) -> &'static str {
        if self.answered.load(Ordering::Relaxed) { "" } else { advice(self.endpoint.uri().scheme_str(), words) }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "[hidden]"))
            .field("connect_timeout", &self.connect_timeout)
            .field("keepalive", &self.keepalive)
            .field("give_up_after", &self.give_up_after)
            .field("in_flight", &self.in_flight)
            .field("tls", &self.tls)
            .field("connector", &self.connector)
            .finish()
    }
}

#[cfg(test)]
mod tests;
