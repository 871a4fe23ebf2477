//! Records about whole files: what replay behind a checkpoint makes of them is what they made live.

use super::*;
use crate::{
    apply::view::{FileView, ViewState},
    shard::testing::name,
};

const PATHS: [&str; 3] = ["a", "b", "c"];

/// Turns lots into records that the state allows, carries them out, and collects them frame by frame.
struct Shard {
    files: Files,
    ids: u64,
    sequence: u64,
    frames: Vec<(u64, Vec<Record>)>,
}

impl Shard {
    fn new() -> Self {
        Self { files: Files::new(4), ids: 10, sequence: 0, frames: Vec::new() }
    }

    fn fresh(&mut self) -> FileId {
        self.ids += 1;
        id(self.ids)
    }

    fn frame(&mut self, lots: &[(u8, usize, usize)]) {
        self.sequence += 1;
        self.frames.push((self.sequence, Vec::new()));
        for (what, path, other) in lots {
            for record in self.records(*what, PATHS[*path], PATHS[*other]) {
                self.files.apply(&record, self.sequence, self.sequence);
                self.frames.last_mut().unwrap().1.push(record);
            }
        }
    }

    fn records(&mut self, what: u8, path: &str, other: &str) -> Vec<Record> {
        let next = self.fresh();
        let generation = next.counter();
        let (key, to) = (key(path), key(other));
        let there = self.files.id_of(&key).filter(|id| self.files.get(*id).unwrap().created);
        let upload = self.files.upload_of(&key, &"p".into());
        let end_of = |id: FileId| self.files.get(id).unwrap().end;
        match (what, there, upload) {
            (0, None, _) => vec![Record::Create { id: self.named(&key, next), at: 5 }],
            (1, Some(id), _) => {
                let data = Bytes::from_static(b"abc");
                vec![Record::Append { id, offset: end_of(id), producer: None, crc32c: 1, data }]
            }
            (2, _, None) => vec![
                Record::Upload { key, id: next, generation, replace: true, if_generation: None },
                Record::Epoch { id: next, producer: "p".into(), epoch: 1 },
            ],
            (3, _, Some(id)) => {
                let producer =
                    self.files.get(id).unwrap().producers.get("p").map(|known| ("p".into(), known.last_seq + 1));
                vec![Record::Chunk { id, offset: end_of(id), len: 5, stored_crc32c: 9, producer, crc32c: 9 }]
            }
            (4, _, Some(id)) => vec![Record::Publish { id }],
            (5, _, Some(id)) => vec![Record::Remove { id, heir: None }],
            (6, Some(id), _) => vec![Record::Remove { id, heir: Some((next, generation)) }],
            (7, Some(id), _) => vec![Record::Remove { id, heir: None }],
            (8, Some(id), _) if path != other => vec![Record::Rename { id, to }],
            (9, Some(id), _) => {
                let len = end_of(id).min(4);
                vec![Record::Swap { id, next, generation, len, crc32c: 3, compressed: (other == "c").then_some(2) }]
            }
            (10, Some(id), _) => vec![
                Record::Epoch { id, producer: "q".into(), epoch: generation },
                Record::Operation { id, producer: "q".into(), seq: 1, crc32c: 8 },
                Record::Seal { id },
            ],
            (11, Some(id), _) if path != other => vec![Record::Rotate { id, to, next, generation, at: 6 }],
            (12, _, _) => vec![Record::Adopt { key, id: next, generation, len: 7, crc32c: 4, at: 5 }],
            _ => Vec::new(),
        }
    }

    /// The id of a path without a file.
    fn named(&mut self, key: &FileKey, next: FileId) -> FileId {
        if let Some(id) = self.files.id_of(key) {
            return id;
        }
        let view = FileView::new(key.clone(), next, next.counter(), ViewState::default());
        self.files.insert(File::new(Arc::new(view), false));
        let record = Record::Name { key: key.clone(), id: next, generation: next.counter() };
        self.files.apply(&record, self.sequence, self.sequence);
        self.frames.last_mut().unwrap().1.push(record);
        next
    }

    /// What a start finds in a catalog of this moment.
    fn stored(&self) -> Files {
        let mut files =
            Files::new(4).going_on(self.files.usage().map(|(of, usage)| (of.clone(), usage)).collect(), vec![]);
        for file in self.files.iter().filter(|file| file.gone.is_none()) {
            let File { key, named, created, end, sequence, producers, content, upload, .. } = file;
            let place = file.view.place().clone();
            let view = Arc::new(FileView::at(place, 0, file.view.id, file.view.generation, ViewState::default()));
            files.insert(File {
                key: key.clone(),
                created: *created,
                end: *end,
                sequence: *sequence,
                producers: producers.clone(),
                content: content.clone(),
                upload: upload.clone(),
                ..File::new(view, *named)
            });
        }
        files
    }
}

/// Everything that is kept of a file.
fn kept(file: &File) -> String {
    let producers: std::collections::BTreeMap<_, _> = file.producers.iter().collect();
    let File { key, named, created, end, sequence, content, upload, gone, .. } = file;
    format!(
        "{key} {named} {created} {end} {sequence} {producers:?} {content:?} {upload:?} {gone:?} {}",
        file.view.generation
    )
}

proptest! {
    #[test]
    fn replay_of_whole_files_behind_any_checkpoint_comes_to_the_live_state(
        frames in prop::collection::vec(prop::collection::vec((0..13u8, 0..3usize, 0..3usize), 1..6), 1..20), cut in 0..20usize,
    ) {
        let mut live = Shard::new();
        let mut recovered = live.stored();
        for (at, lots) in frames.iter().enumerate() {
            if at == cut {
                recovered = live.stored();
                live.frames.clear();
            }
            live.frame(lots);
        }
        for (sequence, records) in &live.frames {
            for record in records {
                if let Record::Name { key, id, generation } = record {
                    // As recovery does with a name that it did not know.
                    let view = FileView::new(key.clone(), *id, *generation, ViewState::default());
                    recovered.insert(File::new(Arc::new(view), true));
                }
                recovered.apply(record, *sequence, *sequence);
            }
        }
        for file in live.files.iter() {
            match recovered.get(file.view.id) {
                Some(other) => prop_assert_eq!(kept(file), kept(other)),
                None => prop_assert!(file.gone.is_some(), "{} is missing", file.key),
            }
        }
        for path in PATHS {
            prop_assert_eq!(live.files.id_of(&key(path)), recovered.id_of(&key(path)));
            let producer = "p".into();
            prop_assert_eq!(live.files.upload_of(&key(path), &producer), recovered.upload_of(&key(path), &producer));
        }
        prop_assert_eq!(live.files.usage_of(&name("t")), recovered.usage_of(&name("t")));
        let there = || live.files.iter().filter(|file| file.gone.is_none());
        let bytes: u64 = there().map(|file| file.content.compressed.unwrap_or(file.end)).sum();
        let counted = Usage { bytes, files: there().filter(|file| file.created).count() as u64 };
        prop_assert_eq!(live.files.usage_of(&name("t")), counted);
    }
}
