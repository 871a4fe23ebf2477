//! What a client needs for TLS, checked piece by piece so that an error can say which piece is wrong.

use crate::{Error, Result, error::described_transport};
use std::{borrow::Cow, fmt, fs, path::PathBuf, time::Duration};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

const CERTIFICATE: &str = "CERTIFICATE-----";
/// Also the end of `BEGIN RSA PRIVATE KEY-----` and the like.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// Something in PEM.
#[derive(Clone)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

/// The settings, as they were given. All unset: the system's roots, and no certificate of the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) ca: Option<Pem>,
    /// Certificate and key of the client.
    pub(crate) identity: Option<(Pem, Pem)>,
    pub(crate) server_name: Option<String>,
}

impl Tls {
    pub(crate) fn is_set(&self) -> bool {
        self.ca.is_some() || self.identity.is_some() || self.server_name.is_some()
    }

    /// Has the endpoint speak TLS. Reads the files.
    pub(crate) fn apply(&self, endpoint: Endpoint, handshake: Duration) -> Result<Endpoint> {
        let mut config = ClientTlsConfig::new().timeout(handshake);
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
            check(&endpoint, &config, || format!("server_name {name:?}"))?;
        }
        if let Some((certificate, key)) = &self.identity {
            let chain = certificate.read("the client certificate", CERTIFICATE)?;
            config = config.identity(Identity::from_pem(chain, key.read("the client key", PRIVATE_KEY)?));
            check(&endpoint, &config, || format!("the client certificate {certificate} with the key {key}"))?;
        }
        let Some(ca) = &self.ca else {
            let config = config.with_native_roots();
            return check(&endpoint, &config, || "the CA certificates of this system".to_owned());
        };
        let config = config.ca_certificate(Certificate::from_pem(ca.read("the CA", CERTIFICATE)?));
        check(&endpoint, &config, || format!("the CA {ca}"))
    }
}

/// What to do if one side speaks TLS and the other does not, which shows in no other way than in the words of the
/// transport. For people: nothing is decided by it.
pub(crate) fn advice(scheme: Option<&str>, words: &str) -> &'static str {
    let unreachable = ["connect error", "dns error", "in time"].iter().any(|sign| words.contains(sign));
    match scheme {
        Some("http") if !unreachable => "; if the server speaks TLS, the endpoint must begin with https://",
        Some("https") if words.contains("InvalidContentType") => {
            "; the server seems not to speak TLS: the endpoint must then begin with http://"
        }
        _ => "",
    }
}

/// The endpoint with this much of the settings; an error is about what was added last.
fn check(endpoint: &Endpoint, config: &ClientTlsConfig, what: impl FnOnce() -> String) -> Result<Endpoint> {
    let applied = endpoint.clone().tls_config(config.clone());
    applied.map_err(|error| Error::config(format!("TLS: {} cannot be used: {}", what(), described_transport(&error))))
}

impl Pem {
    /// The text, in which at least the label of what it should be must stand: the parser below skips all else.
    fn read(&self, what: &str, label: &str) -> Result<Cow<'_, [u8]>> {
        let text = match self {
            Self::Text(text) => Cow::from(text),
            Self::File(path) => {
                let read = fs::read(path); // small, and once
                Cow::from(read.map_err(|error| Error::config(format!("TLS: {what} {self} cannot be read: {error}")))?)
            }
        };
        if !text.windows(label.len()).any(|part| part == label.as_bytes()) {
            return Err(Error::config(format!("TLS: {what} {self} holds no PEM block \"-----BEGIN {label}\"")));
        }
        Ok(text)
    }
}

/// Where it is, never what it is: it may be a key.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(text) => write!(f, "(given as PEM, {} bytes)", text.len()),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
