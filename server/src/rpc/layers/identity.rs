//! Who calls: a static token, or anybody in development mode.

use super::{Request, Response, method, refuse};
use crate::config::{Config, DEFAULT_TENANT};
use crate::telemetry::names;
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, header::AUTHORIZATION};
use inkpot_proto::{error::Refused, path::TenantName, v1::ErrorReason};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::body::Body;
use tower::{Layer, Service};

/// Longest credential that is looked at, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;

type Hash = [u8; 32];

/// Who calls; in the extensions of each request but those for health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose files the call is about, and whose quotas.
    pub tenant: TenantName,
}

/// Puts an [`Identity`] into the request, or answers UNAUTHENTICATED. Outside of everything that reads the body,
/// allocates, or waits: strangers get nothing of that. Health needs no credential.
#[derive(Clone)]
pub struct IdentityLayer {
    known: Arc<Known>,
}

enum Known {
    /// Development mode: everybody is this tenant.
    Everybody(Identity),
    /// The tokens of all tenants, hashed.
    Tokens(Vec<(Hash, Identity)>),
}

impl IdentityLayer {
    /// Takes the tokens of a configuration; an entry that [`Config::load`] would refuse lets nobody in.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let identity = |name: &str| TenantName::parse(name).ok().map(|tenant| Identity { tenant });
        let everybody = identity(DEFAULT_TENANT).filter(|_| config.development()).map(Known::Everybody);
        let of_tenants =
            config.tenants.iter().flat_map(|(name, tenant)| tenant.token_sha256.iter().map(move |hash| (hash, name)));
        let tokens = of_tenants.filter_map(|(hash, name)| parse_hash(hash).zip(identity(name)));
        Self { known: Arc::new(everybody.unwrap_or_else(|| Known::Tokens(tokens.collect()))) }
    }
}

impl fmt::Debug for IdentityLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = Identify<S>;

    fn layer(&self, inner: S) -> Identify<S> {
        Identify { inner, layer: self.clone() }
    }
}

/// See [`IdentityLayer`].
#[derive(Clone, Debug)]
pub struct Identify<S> {
    inner: S,
    layer: IdentityLayer,
}

impl<S> Service<Request<Body>> for Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if method::is_health(request.uri().path()) {
            return Either::Left(self.inner.call(request));
        }
        match identify(&self.layer.known, request.headers()) {
            Ok(identity) => {
                tracing::Span::current().record(names::TENANT, tracing::field::display(&identity.tenant));
                request.extensions_mut().insert(identity);
                Either::Left(self.inner.call(request))
            }
            Err(refused) => Either::Right(ready(Ok(refuse(&refused)))),
        }
    }
}

fn identify(known: &Known, headers: &HeaderMap) -> Result<Identity, Refused> {
    let tokens = match known {
        Known::Everybody(identity) => return Ok(identity.clone()),
        Known::Tokens(tokens) => tokens,
    };
    let shown: Hash = Sha256::digest(token(headers)?).into();
    // Each one is compared, whether or not one before it fits.
    let fitting =
        tokens.iter().fold(None, |found, (hash, identity)| if same(hash, &shown) { Some(identity) } else { found });
    fitting.cloned().ok_or_else(|| unauthenticated("the token is not known here"))
}

/// The token in the one `authorization` header.
fn token(headers: &HeaderMap) -> Result<&[u8], Refused> {
    let mut credentials = headers.get_all(AUTHORIZATION).iter();
    let (Some(credential), None) = (credentials.next(), credentials.next()) else {
        return Err(unauthenticated("there must be one credential; send `authorization: Bearer TOKEN`"));
    };
    let bytes = credential.as_bytes();
    if bytes.len() > MAX_CREDENTIAL_BYTES {
        return Err(unauthenticated(format!("the credential is longer than {MAX_CREDENTIAL_BYTES} bytes")));
    }
    let (scheme, token) = bytes.split_at(bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len()));
    let token = token.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty() {
        return Ok(token);
    }
    Err(unauthenticated("the credential is no bearer token; send `authorization: Bearer TOKEN`"))
}

fn unauthenticated(message: impl Into<String>) -> Refused {
    Refused::new(ErrorReason::Unauthenticated, message)
}

/// Compares in a time that does not depend on where two hashes differ.
fn same(one: &Hash, other: &Hash) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

fn parse_hash(hex: &str) -> Option<Hash> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}
