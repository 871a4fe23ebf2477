//! Uploads of the fake server: what is kept of them, and how they end.

use super::{File, World, session::Channel};
use inkpot_proto::v1::{self, ErrorReason, FinishAction, Mode};

pub(super) fn is_upload(mode: Mode) -> bool {
    matches!(mode, Mode::Create | Mode::Replace)
}

impl World {
    /// What a channel appends to: a file, or the upload of its producer.
    pub(super) fn content(&mut self, mode: Mode, path: &str, producer: &str) -> &mut File {
        if is_upload(mode) {
            self.uploads.entry((path.to_owned(), producer.to_owned())).or_default()
        } else {
            self.files.entry(path.to_owned()).or_default()
        }
    }

    /// The generation that the next content of a file has.
    fn next_generation(&self, path: &str) -> u64 {
        self.files.get(path).map_or(1, |file| file.generation() + 1)
    }

    /// Makes an upload the content of its path.
    pub(super) fn publish(&mut self, key: &(String, String)) -> v1::Finished {
        let generation = self.next_generation(&key.0);
        let upload = self.uploads.get_mut(key).unwrap();
        let bytes = upload.bytes.clone();
        let finished =
            v1::Finished { channel: 0, generation, size: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        upload.published = Some(finished);
        self.files.insert(key.0.clone(), File { bytes, renewals: generation - 1, ..File::default() });
        finished
    }
}

/// Whether the upload may be opened: CREATE wants no file, unless it is what this upload has become.
pub(super) fn check_open(world: &World, open: &v1::Open) -> Result<(), ErrorReason> {
    let upload = world.uploads.get(&(open.path.clone(), open.producer_id.clone()));
    let published = upload.is_some_and(|upload| upload.published.is_some());
    if open.mode() == Mode::Create && world.files.contains_key(&open.path) && !published {
        return Err(ErrorReason::FileExists);
    }
    Ok(())
}

pub(super) fn finish(world: &mut World, channel: &Channel, finish: &v1::Finish) -> Result<v1::Finished, ErrorReason> {
    let key = (channel.path.clone(), channel.producer.clone());
    let upload = world.uploads.get(&key).ok_or(ErrorReason::UploadNotFound)?;
    let (size, crc32c) = (upload.bytes.len() as u64, crc32c::crc32c(&upload.bytes));
    let left = v1::Finished { channel: finish.channel, generation: 0, size, crc32c };
    let finished = match (finish.action(), upload.published) {
        (FinishAction::Commit, Some(published)) => published,
        (FinishAction::Commit, None) => {
            if finish.size.is_some_and(|expected| expected != size) {
                return Err(ErrorReason::SizeMismatch);
            }
            if finish.crc32c.is_some_and(|expected| expected != crc32c) {
                return Err(ErrorReason::ChecksumMismatch);
            }
            if channel.mode == Mode::Create && world.files.contains_key(&channel.path) {
                return Err(ErrorReason::FileExists);
            }
            world.publish(&key)
        }
        (FinishAction::Abort, _) => {
            world.uploads.remove(&key);
            v1::Finished::default()
        }
        _ => left,
    };
    Ok(v1::Finished { channel: finish.channel, ..finished })
}
