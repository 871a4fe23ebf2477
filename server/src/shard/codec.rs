//! Bytes of records and catalog rows: variable-length numbers (LEB128, as protobuf has them), strings with a length.

use bytes::Bytes;
use thiserror::Error;

/// Bytes that a checksum or the catalog vouched for do not decode: a fault of ours or of a newer version.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a record does not decode at byte {0}")]
pub struct Undecodable(pub usize);

/// Appends a number.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a string.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a number that may be absent.
pub fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    put_number(out, u64::from(number.is_some()));
    if let Some(number) = number {
        put_number(out, number);
    }
}

/// Reads what the functions above wrote.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// From the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether everything is read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// What was read last makes no sense.
    #[must_use]
    pub fn undecodable(&self) -> Undecodable {
        Undecodable(self.at)
    }

    /// A reader of the next `len` bytes, which are skipped here. It counts from the same beginning.
    pub fn split(&mut self, len: u64) -> Result<Self, Undecodable> {
        let at = self.at;
        self.bytes(len)?;
        Ok(Self { bytes: self.bytes.slice(..self.at), at })
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Undecodable> {
        let byte = *self.bytes.get(self.at).ok_or(Undecodable(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    /// A number.
    pub fn number(&mut self) -> Result<u64, Undecodable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has one bit left to give.
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.undecodable())
    }

    /// A number that may be absent.
    pub fn option(&mut self) -> Result<Option<u64>, Undecodable> {
        match self.number()? {
            0 => Ok(None),
            1 => self.number().map(Some),
            _ => Err(self.undecodable()),
        }
    }

    /// A number of bytes, without copying them.
    pub fn bytes(&mut self, len: u64) -> Result<Bytes, Undecodable> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let end = end.filter(|end| *end <= self.bytes.len()).ok_or(Undecodable(self.at))?;
        let bytes = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    /// A fixed number of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let at = self.at;
        self.bytes(N as u64)?.as_ref().try_into().map_err(|_| Undecodable(at))
    }

    /// A string.
    pub fn text(&mut self) -> Result<String, Undecodable> {
        let len = self.number()?;
        let at = self.at;
        String::from_utf8(self.bytes(len)?.to_vec()).map_err(|_| Undecodable(at))
    }
}

#[cfg(test)]
mod tests;
