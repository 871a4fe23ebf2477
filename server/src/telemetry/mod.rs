//! How the server tells what it does.

pub mod logging;
