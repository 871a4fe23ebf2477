//! Listing, page by page.

use super::Files;
use crate::{Error, Result};
use futures_util::{Stream, TryStreamExt, future, stream};
use inkpot_proto::{
    error::Refused,
    v1::{ErrorReason, FileInfo, ListRequest},
};
use std::collections::VecDeque;

/// How to list. The default: every file, in pages as the server likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Size of a page, 1 to 10 000; 0: as the server likes.
    pub page_size: u32,
    /// If set, `/` as a rule: paths that have it behind the prefix are not listed one by one, but once, up to and with it.
    pub delimiter: Option<char>,
}

/// What a list with a delimiter finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A file.
    File(Box<FileInfo>),
    /// What the paths of one or more files have in common, up to and with the delimiter.
    Prefix(String),
}

impl Entry {
    /// The path or the common prefix.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::File(file) => &file.path,
            Self::Prefix(prefix) => prefix,
        }
    }
}

impl Files {
    /// The files whose path begins with `prefix`, in byte order of their paths, fetched in pages of `page_size`
    /// (1 to 10 000; 0: as the server likes) as the stream is read. An error is the last item.
    pub fn list(&self, prefix: &str, page_size: u32) -> impl Stream<Item = Result<FileInfo>> + Send + use<> {
        let entries = self.entries(prefix, ListOptions { page_size, delimiter: None });
        entries.try_filter_map(|entry| {
            future::ok(match entry {
                Entry::File(file) => Some(*file),
                Entry::Prefix(_) => None,
            })
        })
    }

    /// As [`list`](Self::list); with a delimiter, like a directory: files and common prefixes together in byte order.
    pub fn entries(&self, prefix: &str, options: ListOptions) -> impl Stream<Item = Result<Entry>> + Send + use<> {
        let delimiter = options.delimiter.map(String::from).unwrap_or_default();
        let pages = Pages {
            files: self.clone(),
            prefix: prefix.to_owned(),
            page_size: options.page_size,
            delimiter,
            found: VecDeque::new(),
            next: Some(String::new()),
        };
        stream::try_unfold(pages, Pages::step)
    }
}

/// Where a list is.
struct Pages {
    files: Files,
    prefix: String,
    page_size: u32,
    delimiter: String,
    found: VecDeque<Entry>,
    /// Token of the page to fetch; `None`: there is no more.
    next: Option<String>,
}

impl Pages {
    async fn step(mut self) -> Result<Option<(Entry, Self)>> {
        loop {
            if let Some(entry) = self.found.pop_front() {
                return Ok(Some((entry, self)));
            }
            let Some(page_token) = self.next.take() else { return Ok(None) };
            self.fetch(page_token).await?;
        }
    }

    async fn fetch(&mut self, page_token: String) -> Result<()> {
        let request = ListRequest {
            prefix: self.prefix.clone(),
            page_size: self.page_size,
            page_token: page_token.clone(),
            delimiter: self.delimiter.clone(),
        };
        let answer = self.files.client().list(self.files.settings.request(request)).await;
        let page = self.files.settings.answer(answer)?;
        if page.next_page_token == page_token && !page_token.is_empty() {
            let message = format!("List of {:?} gave the same page token twice", self.prefix);
            return Err(Error::refused(Refused::new(ErrorReason::Internal, message)));
        }
        self.found = merged(page.files, page.prefixes);
        self.next = Some(page.next_page_token).filter(|token| !token.is_empty());
        Ok(())
    }
}

/// Both are in byte order; so is what they give together.
fn merged(files: Vec<FileInfo>, prefixes: Vec<String>) -> VecDeque<Entry> {
    let mut prefixes = prefixes.into_iter().peekable();
    let mut found = VecDeque::with_capacity(files.len() + prefixes.len());
    for file in files {
        while let Some(prefix) = prefixes.next_if(|prefix| *prefix < file.path) {
            found.push_back(Entry::Prefix(prefix));
        }
        found.push_back(Entry::File(Box::new(file)));
    }
    found.extend(prefixes.map(Entry::Prefix));
    found
}
