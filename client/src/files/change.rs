//! What one does to a file as a whole, and to many.

use super::{Files, retry::Again};
use crate::{Error, Result, error::check_path};
use futures_util::{Stream, stream};
use inkpot_proto::{
    error::Refused,
    v1::{
        AdoptRequest, AdoptResponse, CommitFilesRequest, DeletePrefixRequest, DeletePrefixResponse, DeleteRequest,
        DeleteResponse, ErrorReason, Operator, RenameRequest, RenameResponse, SealRequest, SealResponse,
        TruncateRequest, TruncateResponse, UploadPart,
    },
};
use std::future::Future;

/// What goes with an operation on a file. The default: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangeOptions {
    /// If set: the generation that the file must have.
    pub if_generation: Option<u64>,
    /// If set: who asks, so that the operation is done once however often it is asked for; the library then asks again
    /// by itself after a lost connection. Without it, it asks again only if nothing was applied.
    pub operator: Option<Operator>,
}

/// What goes with a rename. The default: a file at the new path is not replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenameOptions {
    /// Whether a file at the new path is replaced.
    pub replace: bool,
    /// As [`ChangeOptions::if_generation`].
    pub if_generation: Option<u64>,
    /// As [`ChangeOptions::operator`]; a producer of the file.
    pub operator: Option<Operator>,
}

/// Which plain files to adopt. The default: one file, some at a time as the server likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdoptOptions {
    /// Whether to take everything below a directory.
    pub recursive: bool,
    /// Most files to look at in one call, 1 to 10 000; 0: as the server likes.
    pub page_size: u32,
}

impl Files {
    /// Removes a file.
    ///
    /// # Errors
    /// `FileNotFound`, `GenerationChanged`; else what the server or the connection says, or
    /// [`GaveUp`](crate::ErrorKind::GaveUp).
    pub async fn delete(&self, path: &str, options: ChangeOptions) -> Result<DeleteResponse> {
        let ChangeOptions { if_generation, operator } = options;
        let again = Again::with(operator.as_ref());
        let request = DeleteRequest { path: path.to_owned(), if_generation, operator };
        self.change(path, again, || async {
            let answer = self.client().delete(self.settings.request(request.clone())).await;
            self.settings.answer(answer)
        })
        .await
    }

    /// Gives a file another path.
    ///
    /// # Errors
    /// `FileNotFound`; `FileExists` without `replace`; `GenerationChanged`; else as [`delete`](Self::delete).
    pub async fn rename(&self, from: &str, to: &str, options: RenameOptions) -> Result<RenameResponse> {
        check_path(to)?;
        let RenameOptions { replace, if_generation, operator } = options;
        let again = Again::with(operator.as_ref());
        let request = RenameRequest { from: from.to_owned(), to: to.to_owned(), replace, if_generation, operator };
        self.change(from, again, || async {
            let answer = self.client().rename(self.settings.request(request.clone())).await;
            self.settings.answer(answer)
        })
        .await
    }

    /// Cuts a file: its first `size` bytes become its next generation.
    ///
    /// # Errors
    /// `OutOfRange`: the file is shorter. `FileNotFound`, `GenerationChanged`; else as [`delete`](Self::delete).
    pub async fn truncate(&self, path: &str, size: u64, options: ChangeOptions) -> Result<TruncateResponse> {
        let ChangeOptions { if_generation, operator } = options;
        let again = Again::with(operator.as_ref());
        let request = TruncateRequest { path: path.to_owned(), size, if_generation, operator };
        self.change(path, again, || async {
            let answer = self.client().truncate(self.settings.request(request.clone())).await;
            self.settings.answer(answer)
        })
        .await
    }

    /// Lets a file take no more appends, and syncs its plain file. Sealed before: succeeds again.
    ///
    /// # Errors
    /// `FileNotFound`, `GenerationChanged`; else as [`delete`](Self::delete).
    pub async fn seal(&self, path: &str, options: ChangeOptions) -> Result<SealResponse> {
        let ChangeOptions { if_generation, operator } = options;
        let request = SealRequest { path: path.to_owned(), if_generation, operator };
        self.change(path, Again::Safe, || async {
            let answer = self.client().seal(self.settings.request(request.clone())).await;
            self.settings.answer(answer)
        })
        .await
    }

    /// Publishes a set of finished uploads, 1 to 1 000, all or none; the parts are what
    /// [`Upload::leave_open`](crate::Upload::leave_open) gave. Gives their generations, in the same order. Published
    /// before: succeeds again.
    ///
    /// # Errors
    /// `UploadNotFound`, `UploadOpen`, `SizeMismatch`, `ChecksumMismatch`, `FileExists`, `GenerationChanged`: nothing was
    /// published. Else what the server or the connection says; asking again settles it.
    pub async fn commit_files(&self, uploads: Vec<UploadPart>) -> Result<Vec<u64>> {
        uploads.iter().try_for_each(|part| check_path(&part.path))?;
        let count = uploads.len();
        let request = CommitFilesRequest { uploads };
        let answer = self
            .settle(Again::Safe, || async {
                let answer = self.client().commit_files(self.settings.request(request.clone())).await;
                self.settings.answer(answer)
            })
            .await?;
        if answer.generations.len() != count {
            let found = answer.generations.len();
            return Err(Error::protocol(format_args!("{found} generations for a set of {count}")));
        }
        Ok(answer.generations)
    }

    /// Removes the files whose path begins with `prefix` (empty: all, and uploads too), at most `page_size` (1 to 10 000;
    /// 0: as the server likes) in each call. Each item tells what a call has removed; the next call is made when the
    /// stream is polled again, so it stops when it is dropped. An error is the last item; what it removed stays removed.
    /// After a lost connection the call is made again, and then counts only what it still found.
    pub fn delete_prefix(
        &self,
        prefix: &str,
        page_size: u32,
    ) -> impl Stream<Item = Result<DeletePrefixResponse>> + Send + use<> {
        let (files, prefix) = (self.clone(), prefix.to_owned());
        pages(move |page_token| {
            let files = files.clone();
            let request = DeletePrefixRequest { prefix: prefix.clone(), max_files: page_size, page_token };
            async move {
                let call = || async {
                    let answer = files.client().delete_prefix(files.settings.request(request.clone())).await;
                    files.settings.answer(answer)
                };
                let page = files.settle(Again::Safe, call).await?;
                let next = page.next_page_token.clone();
                Ok((page, next))
            }
        })
    }

    /// Takes plain files that another program changed or put there as they are now: the one at `path`, or those below it;
    /// empty: the whole tree of the tenant. A stream like that of [`delete_prefix`](Self::delete_prefix).
    pub fn adopt(&self, path: &str, options: AdoptOptions) -> impl Stream<Item = Result<AdoptResponse>> + Send + use<> {
        let (files, path) = (self.clone(), path.to_owned());
        let AdoptOptions { recursive, page_size } = options;
        pages(move |page_token| {
            let files = files.clone();
            let request = AdoptRequest { path: path.clone(), recursive, max_files: page_size, page_token };
            async move {
                let call = || async {
                    let answer = files.client().adopt(files.settings.request(request.clone())).await;
                    files.settings.answer(answer)
                };
                let page = files.settle(Again::Safe, call).await?;
                let next = page.next_page_token.clone();
                Ok((page, next))
            }
        })
    }

    async fn change<T, F>(&self, path: &str, again: Again, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        check_path(path)?;
        self.settle(again, call).await.map_err(|error| error.on(path))
    }
}

/// The pages that `fetch` gives for a token, together with the token of the next one; empty: there is none.
fn pages<T, F>(fetch: impl Fn(String) -> F + Send) -> impl Stream<Item = Result<T>> + Send
where
    F: Future<Output = Result<(T, String)>> + Send,
{
    stream::try_unfold((fetch, Some(String::new())), |(fetch, token)| async move {
        let Some(token) = token else { return Ok(None) };
        let (page, next) = fetch(token.clone()).await?;
        if next == token && !token.is_empty() {
            let message = "the server gave the same page token twice";
            return Err(Error::refused(Refused::new(ErrorReason::Internal, message)));
        }
        Ok(Some((page, (fetch, Some(next).filter(|next| !next.is_empty())))))
    })
}
