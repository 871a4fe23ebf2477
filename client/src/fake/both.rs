//! Both services on one endpoint.

use super::{Service, World, operations::Operations};
use inkpot_proto::v1::{file_service_server::FileServiceServer, write_service_server::WriteServiceServer};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tonic::{
    body::Body,
    codegen::{self, BoxFuture, http},
};

#[derive(Clone)]
pub(super) struct Both {
    writes: WriteServiceServer<Service>,
    files: FileServiceServer<Operations>,
}

impl Both {
    pub(super) fn new(world: &Arc<Mutex<World>>) -> Self {
        Self {
            writes: WriteServiceServer::new(Service(Arc::clone(world))),
            files: FileServiceServer::new(Operations(Arc::clone(world))),
        }
    }
}

impl codegen::Service<http::Request<Body>> for Both {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().starts_with("/inkpot.v1.FileService/") {
            codegen::Service::call(&mut self.files, request)
        } else {
            codegen::Service::call(&mut self.writes, request)
        }
    }
}
