//! A tail, line by line.

use super::Tail;
use crate::{Result, Transition};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A file as it grows, line by line. Made by [`Tail::lines`]. A line is given once its newline is committed. After an
/// error, which is the last item, the part of a line that had come by then is not given: whoever goes on later from
/// [`Line::end_offset`] of the last line misses nothing.
///
/// Goes over rotation, replacement and deletion like the tail; a line that the old content leaves unfinished is given then,
/// without a newline, before the first one of the new content. [`Line::generation`] tells them apart.
#[derive(Debug)]
pub struct Lines {
    tail: Tail,
    most_bytes: usize,
    /// The beginning of a line that is not whole yet.
    partial: BytesMut,
    /// What was not looked at yet.
    piece: Bytes,
    /// Where `partial` and `piece` begin in the file.
    offset: u64,
    generation: u64,
}

/// A line of a file, or a part of one that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its bytes. All but a part of a line that is too long, and the last line of a content that came to its end, end with
    /// the newline (0x0A).
    pub data: Bytes,
    /// Generation of the file.
    pub generation: u64,
}

impl Line {
    /// Offset after the last byte: where a later tail goes on.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64)
    }
}

impl Lines {
    pub(super) fn new(tail: Tail, most_bytes: usize) -> Self {
        let most_bytes = most_bytes.max(1);
        Self { tail, most_bytes, partial: BytesMut::new(), piece: Bytes::new(), offset: 0, generation: 0 }
    }

    /// The next line, if it is whole. Without a copy if it lies in one piece.
    fn cut(&mut self) -> Option<Line> {
        let room = self.most_bytes - self.partial.len();
        let seen = &self.piece[..room.min(self.piece.len())];
        let newline = seen.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let Some(end) = newline.or((seen.len() == room).then_some(room)) else {
            self.partial.extend_from_slice(&self.piece);
            self.piece.clear();
            return None;
        };
        let mut data = self.piece.split_to(end);
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&data);
            data = self.partial.split().freeze();
        }
        Some(self.give(data))
    }

    /// The line that will not be finished, if there is one.
    fn rest(&mut self) -> Option<Line> {
        let rest = self.partial.split().freeze();
        (!rest.is_empty()).then(|| self.give(rest))
    }

    fn give(&mut self, data: Bytes) -> Line {
        let line = Line { offset: self.offset, data, generation: self.generation };
        self.offset = line.end_offset();
        line
    }
}

#[cfg(test)]
impl Lines {
    pub(crate) fn unfinished(&self) -> usize {
        self.partial.len()
    }
}

impl Stream for Lines {
    type Item = Result<Line>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(line) = self.cut() {
                return Poll::Ready(Some(Ok(line)));
            }
            match ready!(self.tail.poll_next_unpin(cx)) {
                Some(Ok(piece)) if piece.transition() != Transition::Unspecified => {
                    if let Some(line) = self.rest() {
                        return Poll::Ready(Some(Ok(line)));
                    }
                }
                Some(Ok(piece)) => {
                    if self.partial.is_empty() {
                        self.offset = piece.offset;
                    }
                    (self.piece, self.generation) = (piece.data, piece.generation);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}
