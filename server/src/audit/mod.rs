//! The audit log: a line of JSON for each thing that took content away from a path or gave it other content, in `audit.log`
//! in the data folder. A line is written before the caller is answered; it survives the death of the process, and the loss
//! of power as soon as the system writes it out. A log that cannot be written is told in the server's own log, and holds up
//! nothing.

use crate::{
    datadir::layout::{AUDIT_LOG, OLD_AUDIT_LOG},
    host::Host,
    shard::{
        ids::FileKey,
        operation::{Action, Done},
    },
    utc,
};
use inkpot_proto::error::{Refused, reason_name};
use inkpot_wal::fs::{Access, Attributes, Existing, File, FileSystem};
use std::{
    fmt::Write,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// A log of this many bytes becomes the old one, whose place it takes, and a new one begins.
const MAX_BYTES: u64 = 64 << 20;

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was done: a method of FileService, or `Retention`.
    pub method: &'static str,
    /// The file.
    pub key: FileKey,
    /// The path that it was to get.
    pub to: Option<FileKey>,
}

impl Entry {
    /// What `action` on a file means for the log: nothing, unless it takes content away or replaces it.
    #[must_use]
    pub fn of(key: &FileKey, action: &Action) -> Option<Self> {
        let (method, to) = match action {
            Action::Delete => ("Delete", None),
            Action::Rename { to, replace: true } => ("Rename", Some(to.clone())),
            Action::Truncate(_) => ("Truncate", None),
            Action::Adopt(_) => ("Adopt", None),
            Action::Rename { .. } | Action::Seal | Action::Compress(_) => return None,
        };
        Some(Self { method, key: key.clone(), to })
    }

    fn line(&self, at: SystemTime, outcome: &Result<Done, Refused>) -> String {
        let mut line = format!("{{\"time\":\"{}\"", utc::rfc3339_millis(at));
        let mut text = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(line, ",\"{name}\":{}", quoted(value));
        };
        text("tenant", self.key.tenant.as_str());
        text("method", self.method);
        text("path", self.key.path.as_str());
        if let Some(to) = &self.to {
            text("to", to.path.as_str());
        }
        text("outcome", outcome.as_ref().map_or_else(|refused| reason_name(refused.reason), |_| "OK"));
        if let Ok(done) = outcome {
            let _ = write!(line, ",\"generation\":{},\"size\":{}", done.generation, done.size);
            if done.duplicate {
                line.push_str(",\"duplicate\":true");
            }
        }
        line.push_str("}\n");
        line
    }
}

/// See the module.
#[derive(Debug)]
pub struct AuditLog {
    fs: Arc<dyn FileSystem>,
    host: Host,
    /// The file and its length; `None` until the first line, and after an error.
    open: Mutex<Option<(Arc<dyn File>, u64)>>,
    max_bytes: u64,
}

impl AuditLog {
    /// A log in this data folder; nothing is written yet.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, host: Host) -> Self {
        Self { fs, host, open: Mutex::default(), max_bytes: MAX_BYTES }
    }

    /// Adds a line.
    pub async fn note(self: &Arc<Self>, entry: Entry, outcome: &Result<Done, Refused>) {
        let line = entry.line(SystemTime::now(), outcome);
        let log = Arc::clone(self);
        let written = self.host.blocking(move || log.append(&line)).await;
        if let Err(error) = written.flatten() {
            let Entry { method, key, .. } = entry;
            tracing::error!(method, file = %key, %error, "the audit log could not be written");
        }
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, len) = match open.take() {
            Some(log) => log,
            None => self.open_log()?,
        };
        let (file, len) = if len >= self.max_bytes { self.begin_anew(file)? } else { (file, len) };
        file.write_at(&[line.as_bytes()], len)?;
        *open = Some((file, len + line.len() as u64));
        Ok(())
    }

    fn open_log(&self) -> io::Result<(Arc<dyn File>, u64)> {
        let file = match self.fs.open(AUDIT_LOG, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((self.make()?, 0)),
            opened => opened?,
        };
        let len = file.metadata()?.len;
        let mut last = *b"\n";
        if len > 0 {
            file.read_at(&mut last, len - 1)?;
        }
        if last == *b"\n" {
            return Ok((file, len));
        }
        // A line that was cut off stays by itself.
        file.write_at(&[b"\n"], len)?;
        Ok((file, len + 1))
    }

    fn begin_anew(&self, full: Arc<dyn File>) -> io::Result<(Arc<dyn File>, u64)> {
        full.sync_all()?;
        self.fs.rename(AUDIT_LOG, OLD_AUDIT_LOG, Existing::Replace)?;
        Ok((self.make()?, 0))
    }

    fn make(&self) -> io::Result<Arc<dyn File>> {
        let file = self.fs.create(AUDIT_LOG, Attributes::PRIVATE)?;
        self.fs.sync_dir("")?;
        Ok(file)
    }
}

/// As a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
