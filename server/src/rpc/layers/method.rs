//! What the path of a call tells about it.

/// Calls whose answer is a stream: their deadline is the business of the handler once the head of the answer is out.
pub(super) const STREAMING: [&str; 6] = [
    "/inkpot.v1.WriteService/Write",
    "/inkpot.v1.FileService/Read",
    "/inkpot.v1.AdminService/Verify",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

pub(super) fn is_streaming(path: &str) -> bool {
    STREAMING.contains(&path)
}

/// Every method that is served, as metrics and traces name it.
pub(super) const KNOWN: [&str; 14] = [
    "inkpot.v1.WriteService/Write",
    "inkpot.v1.WriteService/Append",
    "inkpot.v1.WriteService/GetWriteState",
    "inkpot.v1.FileService/Read",
    "inkpot.v1.FileService/Stat",
    "inkpot.v1.FileService/List",
    "inkpot.v1.FileService/Delete",
    "inkpot.v1.FileService/Rename",
    "inkpot.v1.FileService/Truncate",
    "inkpot.v1.FileService/Seal",
    "inkpot.v1.FileService/CommitFiles",
    "inkpot.v1.FileService/DeletePrefix",
    "inkpot.v1.FileService/Adopt",
    "inkpot.v1.AdminService/Verify",
];

/// The name of whatever is not served; so the conventions for RPC have it.
pub(super) const OTHER: &str = "_OTHER";

/// The name of a method that is served. Whatever else is called has one name for all: callers choose those.
pub(super) fn known(path: &str) -> &'static str {
    let called = path.trim_start_matches('/');
    KNOWN.iter().find(|name| **name == called).copied().unwrap_or(OTHER)
}

/// Health is asked often, by callers that have no token.
pub(super) fn is_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}
