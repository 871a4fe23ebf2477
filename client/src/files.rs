//! Files: reading them, and what one does to them as a whole. What only reads is tried once; a tail, a download and what
//! changes files go on by themselves.

mod change;
mod download;
mod list;
mod retry;
mod verify;

pub use change::{AdoptOptions, ChangeOptions, RenameOptions};
pub use download::{DownloadOptions, Downloaded};
pub use list::{Entry, ListOptions};

use crate::{Error, Result, Tail, TailOptions, config::Settings, error::check_path, telemetry::Telemetry};
use futures_util::{Stream, TryStreamExt, stream};
use inkpot_proto::v1::{FileInfo, ReadRequest, ReadResponse, StatRequest, file_service_client::FileServiceClient};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::timeout;
use tonic::{Status, Streaming, transport::Channel};

/// Most bytes of one answer: a full page of the longest paths.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The files of a tenant. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    settings: Arc<Settings>,
    channel: Channel,
}

/// Which bytes to read. The default: all there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// First byte; negative: that many bytes before the end.
    pub offset: i64,
    /// Most bytes; 0: to the end.
    pub limit: u64,
    /// Stay, and give what is committed later too. A file that does not exist yet is waited for.
    pub follow: bool,
}

impl Files {
    pub(crate) fn new(settings: Arc<Settings>, channel: Channel) -> Self {
        Self { settings, channel }
    }

    fn client(&self) -> FileServiceClient<Channel> {
        FileServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// The committed bytes of a file, in order and without gaps. An error is the last item. It is not resumed after a
    /// lost connection: read again from the offset after the last byte, or take a [`tail`](Self::tail).
    pub fn read(&self, path: &str, options: ReadOptions) -> impl Stream<Item = Result<ReadResponse>> + Send + use<> {
        let files = self.clone();
        let ReadOptions { offset, limit, follow } = options;
        let request = ReadRequest { path: path.to_owned(), offset, limit, follow, if_generation: None };
        stream::once(async move {
            let path = request.path.clone();
            let pieces = files.open(request).await?;
            Ok::<_, Error>(pieces.map_err(move |status| files.error(&status, &path)))
        })
        .try_flatten()
    }

    /// The file as it grows, over lost connections, for as long as it is polled. A file that does not exist yet is waited
    /// for. Asks the server when it is first polled.
    #[must_use]
    pub fn tail(&self, path: &str, options: TailOptions) -> Tail {
        Tail::new(self.clone(), path.to_owned(), options)
    }

    async fn open(&self, request: ReadRequest) -> Result<Streaming<ReadResponse>> {
        check_path(&request.path)?;
        let path = request.path.clone();
        let answer = self.client().read(self.settings.request(request)).await;
        self.settings.answer(answer).map_err(|error| error.on(&path))
    }

    /// As [`Self::open`], within the time to connect.
    pub(crate) async fn open_in_time(&self, request: ReadRequest) -> Result<Streaming<ReadResponse>> {
        let path = request.path.clone();
        let opened = timeout(self.settings.connect_timeout, self.open(request)).await;
        opened.unwrap_or_else(|_| {
            let endpoint = self.settings.endpoint.uri();
            Err(Error::transport(format!("{endpoint} did not answer in time")).on(&path))
        })
    }

    pub(crate) fn error(&self, status: &Status, path: &str) -> Error {
        self.settings.error(status).on(path)
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.settings.telemetry
    }

    pub(crate) fn give_up_after(&self) -> Duration {
        self.settings.give_up_after
    }

    /// What is known of one file.
    ///
    /// # Errors
    /// `FileNotFound` if there is none; else what the server or the connection says.
    pub async fn stat(&self, path: &str) -> Result<FileInfo> {
        check_path(path)?;
        let request = StatRequest { path: path.to_owned() };
        let answer = self.client().stat(self.settings.request(request)).await;
        let answer = self.settings.answer(answer).map_err(|error| error.on(path))?;
        answer.file.ok_or_else(|| Error::protocol("Stat answered without a file").on(path))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("endpoint", &self.settings.endpoint.uri()).finish_non_exhaustive()
    }
}
