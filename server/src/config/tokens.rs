//! Tokens are kept as SHA-256 only: the configuration, its dump and the logs never show one.

use sha2::{Digest, Sha256};

/// Length of a token's hash in hex digits.
pub(super) const HASH_DIGITS: usize = 64;
/// Shortest token that a file may hold, in bytes: what is shorter can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// SHA-256 of a token in lower-case hex, as the configuration names it.
#[must_use]
pub fn token_sha256(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the bytes of a token: what fits an HTTP header, without white space around it, and not too short to be secret.
///
/// # Errors
/// What is wrong with it; never the token itself.
pub fn check_token(token: &str) -> Result<(), String> {
    if token.len() < MIN_TOKEN_BYTES {
        return Err(format!("a token needs at least {MIN_TOKEN_BYTES} characters, this one has {}", token.len()));
    }
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err("a token takes only visible ASCII characters, without spaces".to_owned())
}

/// The hash of the token that a file holds, without white space around it.
pub(super) fn read_token_file(path: &str) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read the token file {path:?}: {error}"))?;
    check_token(text.trim()).map_err(|problem| format!("token file {path:?}: {problem}"))?;
    Ok(token_sha256(text.trim()))
}
