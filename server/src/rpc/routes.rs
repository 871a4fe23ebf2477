//! Which service answers a call: the first part of its path names it.

use super::layers::in_our_terms;
use futures_util::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

type Route = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Services by name. Cheap to clone: every connection has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes(Arc<HashMap<&'static str, Route>>);

impl Routes {
    /// These, and one more.
    #[must_use]
    pub(super) fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Arc::make_mut(&mut self.0).insert(S::NAME, BoxCloneSyncService::new(service));
        self
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.get(name) {
            Some(route) => route.clone().oneshot(request).boxed(),
            None => std::future::ready(Ok(in_our_terms(Status::unimplemented("")).into_http())).boxed(),
        }
    }
}
