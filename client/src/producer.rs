//! Who writes, over reconnects.

use crate::{Error, Result};
use inkpot_proto::{error::Refused, limits::MAX_PRODUCER_ID_BYTES, v1::ErrorReason};

/// Identity under which a channel writes. With one, a resend after a lost connection is recognised and never written
/// twice.
///
/// An export that is killed and started again, and writes each line once:
///
/// ```no_run
/// use inkpot_client::{BatchPolicy, Client, Error, OpenOptions, Producer};
///
/// # async fn example(client: Client, lines: Vec<bytes::Bytes>) -> Result<(), Error> {
/// let options = OpenOptions {
///     producer: Producer::Named { id: "importer-7".into(), epoch: Some(20_260_731) }, // the same in each run
///     batch: BatchPolicy { max_records: 1, ..BatchPolicy::default() },                // a seq for each line
///     ..OpenOptions::default()
/// };
/// let session = client.session().await;
/// let file = session.open("exports/2026-07-31.csv", options).await?;
/// let done = usize::try_from(file.opened().last_seq).unwrap_or(usize::MAX);
/// for line in lines.into_iter().skip(done) {
///     file.write(line).await?;
/// }
/// let progress = file.finish().await?;
/// println!("{} lines were there, {} came now", done, progress.acked_records);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Producer {
    /// A random id, with an epoch allotted by the server: exactly once for as long as this writer lives.
    #[default]
    Auto,
    /// An id of the caller's: exactly once over restarts of the caller too, if it resumes where
    /// [`Writer::opened`](crate::Writer::opened) says.
    Named {
        /// 1 to 64 bytes without control characters.
        id: String,
        /// Which life of the producer this is, at least 1; a higher one fences the lower ones, an equal one takes
        /// over and goes on after its last seq. `None`: the server allots the next one.
        epoch: Option<u64>,
    },
    /// None. An append whose ack is lost with its connection has an unknown outcome and is never sent again.
    None,
}

/// The identity as it stands in `Open`.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Empty: none.
    pub(crate) id: String,
    /// 0: not yet allotted.
    pub(crate) epoch: u64,
}

impl Identity {
    /// Whether appends may be sent again.
    pub(crate) fn resends(&self) -> bool {
        !self.id.is_empty()
    }
}

impl Producer {
    pub(crate) fn identity(&self) -> Result<Identity> {
        match self {
            Self::Auto => Ok(Identity { id: format!("auto-{:032x}", rand::random::<u128>()), epoch: 0 }),
            Self::None => Ok(Identity { id: String::new(), epoch: 0 }),
            Self::Named { id, epoch } => {
                if id.is_empty() || id.len() > MAX_PRODUCER_ID_BYTES || id.chars().any(char::is_control) {
                    return Err(invalid(format!(
                        "producer id {id:?} must be 1 to {MAX_PRODUCER_ID_BYTES} bytes without control characters"
                    )));
                }
                if *epoch == Some(0) {
                    return Err(invalid("producer epochs begin at 1; give none to have one allotted".to_owned()));
                }
                Ok(Identity { id: id.clone(), epoch: epoch.unwrap_or(0) })
            }
        }
    }
}

fn invalid(message: String) -> Error {
    Error::refused(Refused::new(ErrorReason::InvalidField, message))
}
