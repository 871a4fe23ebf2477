//! Where frames begin in one direction of an HTTP/2 connection (RFC 9113, section 4.1). Looks at their heads only, and
//! keeps nothing of them. Pure.

/// Bytes of the head of a frame.
const HEAD_BYTES: usize = 9;
/// Bytes that a client sends before its first frame.
const PREFACE_BYTES: usize = 24;

/// Types of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// On DATA and HEADERS: the last frame of its sender on the stream.
pub(super) const END_STREAM: u8 = 1;
/// On HEADERS and CONTINUATION: the header block is complete.
pub(super) const END_HEADERS: u8 = 4;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// Follows one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that have come.
    have: usize,
    /// Bytes that are still to come of what was begun and is no head.
    left: usize,
    /// A header block was begun and is not complete.
    in_headers: bool,
}

impl Frames {
    /// What a client sends: the preface comes first.
    pub(super) fn of_client() -> Self {
        Self { left: PREFACE_BYTES, ..Self::default() }
    }

    /// Whether the other side has to send more before it has said anything whole.
    pub(super) fn is_midway(&self) -> bool {
        self.have > 0 || self.left > 0 || self.in_headers
    }

    /// Whether a frame may begin here.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Takes the next bytes, and tells the heads that are complete with them. Returns whether everything that was begun
    /// was complete somewhere in them.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut visit: impl FnMut(Head)) -> bool {
        let mut was_whole = !self.is_midway();
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                was_whole |= !self.is_midway();
                continue;
            }
            let taken = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD_BYTES {
                let head = parse(self.head);
                (self.have, self.left) = (0, head.length);
                if matches!(head.kind, kind::HEADERS | kind::CONTINUATION) {
                    self.in_headers = head.flags & END_HEADERS == 0;
                }
                was_whole |= !self.is_midway();
                visit(head);
            }
        }
        was_whole
    }
}

fn parse([a, b, c, kind, flags, d, e, f, g]: [u8; HEAD_BYTES]) -> Head {
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    // The highest bit is reserved.
    Head { length, kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & (u32::MAX >> 1) }
}
