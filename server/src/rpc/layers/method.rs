//! What the path of a call tells about it.

/// Calls whose answer is a stream: their deadline is the business of the handler once the head of the answer is out.
pub(super) const STREAMING: [&str; 5] = [
    "/inkpot.v1.WriteService/Write",
    "/inkpot.v1.FileService/Read",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

pub(super) fn is_streaming(path: &str) -> bool {
    STREAMING.contains(&path)
}

/// Health is asked often, by callers that have no token.
pub(super) fn is_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}
