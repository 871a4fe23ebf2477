//! Bounds of the wire that no configuration changes.

/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Most components of a path.
pub const MAX_PATH_DEPTH: usize = 32;
/// Longest component of a path, in bytes: what Linux file systems take.
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Beginning of names that are ours.
pub const RESERVED_PREFIX: &str = ".inkpot";
/// Longest tenant name, in bytes.
pub const MAX_TENANT_BYTES: usize = 64;
/// Longest producer id, in bytes.
pub const MAX_PRODUCER_ID_BYTES: usize = 64;
/// Longest `traceparent`, in bytes.
pub const MAX_TRACEPARENT_BYTES: usize = 64;
/// Largest gRPC message that a server decodes, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Room in a message for what is not payload, in bytes.
pub const MESSAGE_OVERHEAD_BYTES: usize = 64 << 10;
/// Most records in one append.
pub const MAX_RECORDS_PER_APPEND: usize = 16_384;
/// Largest piece of a file in one `ReadResponse`, in bytes.
pub const READ_CHUNK_BYTES: usize = 256 << 10;
/// Most uploads of one set.
pub const MAX_SET_FILES: usize = 1_000;
/// Largest page of `List`, in files.
pub const MAX_PAGE_SIZE: u32 = 10_000;
/// Page of `List` if the request names no size, in files.
pub const DEFAULT_PAGE_SIZE: u32 = 1_000;
/// HTTP/2 maximum frame size of both sides, in bytes: on a bare stream 1 MiB measured 1.2 to 2.0 times the default.
pub const HTTP2_FRAME_BYTES: u32 = 1 << 20;
/// HTTP/2 window of a stream, in bytes.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// HTTP/2 window of a connection, in bytes. The HTTP/2 library ends a connection on which too many small frames wait to be
/// read: each of less than 256 bytes counts as what it lacks of that, and half of this window is the bound. At 32 times
/// the window of a stream, one that stands still may be full of the smallest appends (15 bytes).
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Port that the server listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7411;
