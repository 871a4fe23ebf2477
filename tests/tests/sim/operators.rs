//! Those who do things to files as a whole: cut, replace, rename, delete, seal them, and publish uploads and sets.

use super::{notebook::Notebook, plan::Operating, readers};
use futures_util::TryStreamExt;
use inkpot_client::{
    ChangeOptions, Client, Error, ErrorReason, Expected, Operator, Outcome, Producer as Named, RenameOptions, Upload,
    UploadMode, UploadOptions, UploadPart,
};
use inkpot_tests::checker::{AppendId, Deed, Event, OperationId, Part};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use std::{future::Future, time::Duration};
use tokio::time::{sleep, timeout};

/// How often something is tried of which nobody knows what became.
const TRIES: usize = 4;

/// Carries out one operation after the other.
pub async fn operate(notebook: Notebook, number: usize, operating: Operating) -> turmoil::Result {
    let mut rng = SmallRng::seed_from_u64(operating.seed);
    sleep(operating.begin).await;
    for turn in 0..operating.operations {
        let name = format!("op-{number}-{turn}");
        let client = notebook.client(number).await;
        let one = One { notebook: &notebook, client, number, name, paths: &operating.paths };
        one.draw(&mut rng).await;
        sleep(Duration::from_millis(rng.random_range(1..600))).await;
    }
    Ok(())
}

/// One operation.
struct One<'a> {
    notebook: &'a Notebook,
    client: Client,
    number: usize,
    /// Of a producer that nobody else is.
    name: String,
    paths: &'a [String],
}

/// An upload that its client keeps for later.
struct Left {
    id: AppendId,
    mode: UploadMode,
    part: UploadPart,
}

/// How an upload is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Commit,
    Abort,
    /// It is left alone, whole or not.
    Leave,
    /// It is left whole, and committed in another session.
    LeaveAndCommit,
}

impl One<'_> {
    fn path(&self, rng: &mut SmallRng) -> String {
        self.paths.choose(rng).cloned().unwrap_or_default()
    }

    /// Mostly a path that has a file; sometimes that of one that was rotated away.
    async fn path_of_file(&self, rng: &mut SmallRng) -> String {
        if rng.random_bool(0.2) {
            return self.path(rng);
        }
        let listed = readers::list(self.notebook, &self.client, &[], 0);
        let Ok(Ok(files)) = timeout(Duration::from_secs(3), listed).await else { return self.path(rng) };
        let ours: Vec<String> = files.into_iter().filter(|file| self.paths.contains(&rotated_from(file))).collect();
        ours.choose(rng).cloned().unwrap_or_else(|| self.path(rng))
    }

    async fn draw(&self, rng: &mut SmallRng) {
        let path = self.path_of_file(rng).await;
        match rng.random_range(0..16) {
            0..2 => self.delete(path, rng).await,
            2 => self.delete_prefix(rng).await,
            3..7 => self.rename(path, rng).await,
            7..10 => self.truncate(path, rng).await,
            10 => self.seal(path, rng).await,
            11..14 => self.publish(self.path(rng), rng).await,
            _ => self.publish_set(rng).await,
        }
    }

    /// Sometimes the generation that the file has now; sometimes a name for the call, so that it can be asked again.
    async fn options(&self, path: &str, rng: &mut SmallRng) -> ChangeOptions {
        let (wants_generation, has_operator) = (rng.random_bool(0.4), rng.random_bool(0.5));
        let if_generation =
            if wants_generation { self.stat(path).await.map(|(generation, _)| generation) } else { None };
        let operator = Operator { producer_id: self.name.clone(), producer_epoch: 1, seq: 1 };
        ChangeOptions { if_generation, operator: has_operator.then_some(operator) }
    }

    /// Generation and size of a file.
    async fn stat(&self, path: &str) -> Option<(u64, u64)> {
        let asked = timeout(Duration::from_secs(3), readers::stat(self.notebook, &self.client, path));
        asked.await.ok().flatten()
    }

    /// Asks until somebody knows, if asking again is safe; notes what comes of it.
    async fn settle<T, F>(&self, id: OperationId, is_safe: bool, call: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut is_unknown = false;
        for _ in 0..if is_safe { TRIES } else { 1 } {
            let error = match call().await {
                Ok(done) => return Some(done),
                Err(error) => error,
            };
            self.notebook.trace.note(format!("operation {id} failed: {error}"));
            if error.outcome() == Outcome::NotApplied {
                if !is_unknown {
                    self.notebook.note(Event::Denied(id));
                }
                return None;
            }
            is_unknown = true;
            sleep(Duration::from_millis(300)).await;
        }
        None
    }

    fn done(&self, operation: OperationId, generations: Vec<u64>) {
        self.notebook.note(Event::Done { operation, generations, size: None });
    }

    async fn delete(&self, path: String, rng: &mut SmallRng) {
        let options = self.options(&path, rng).await;
        let id = self.notebook.ask(Deed::Delete { path: path.clone() }, options.if_generation);
        let files = self.client.files();
        if self.settle(id, options.operator.is_some(), || files.delete(&path, options.clone())).await.is_some() {
            self.done(id, Vec::new());
        }
    }

    async fn delete_prefix(&self, rng: &mut SmallRng) {
        let prefix = (*["dir-0/", "dir-1/", "dir-1/o"].choose(rng).unwrap_or(&"dir-0/")).to_owned();
        let id = self.notebook.ask(Deed::DeletePrefix { prefix: prefix.clone() }, None);
        let files = self.client.files();
        let page = rng.random_range(0..3);
        // What its first calls removed stays removed: it is never denied as a whole.
        let pages: Result<Vec<_>, _> = files.delete_prefix(&prefix, page).try_collect().await;
        if pages.is_ok() {
            self.done(id, Vec::new());
        }
    }

    async fn rename(&self, from: String, rng: &mut SmallRng) {
        let (to, replace) = (self.path(rng), rng.random_bool(0.6));
        let ChangeOptions { if_generation, operator } = self.options(&from, rng).await;
        let deed = Deed::Rename { from: from.clone(), to: to.clone(), replace };
        let id = self.notebook.ask(deed, if_generation);
        let files = self.client.files();
        let options = RenameOptions { replace, if_generation, operator };
        let call = || files.rename(&from, &to, options.clone());
        if let Some(done) = self.settle(id, options.operator.is_some(), call).await {
            self.done(id, vec![done.generation]);
        }
    }

    async fn truncate(&self, path: String, rng: &mut SmallRng) {
        let size = self.stat(&path).await.map_or(0, |(_, size)| size);
        let size = if rng.random_bool(0.2) { size } else { rng.random_range(0..=size) };
        let options = self.options(&path, rng).await;
        let id = self.notebook.ask(Deed::Truncate { path: path.clone(), size }, options.if_generation);
        let files = self.client.files();
        let call = || files.truncate(&path, size, options.clone());
        if let Some(done) = self.settle(id, options.operator.is_some(), call).await {
            self.done(id, vec![done.generation]);
        }
    }

    async fn seal(&self, path: String, rng: &mut SmallRng) {
        let options = self.options(&path, rng).await;
        let id = self.notebook.ask(Deed::Seal { path: path.clone() }, options.if_generation);
        let files = self.client.files();
        if let Some(done) = self.settle(id, true, || files.seal(&path, options.clone())).await {
            let (generations, size) = (vec![done.generation], Some(done.size));
            self.notebook.note(Event::Done { operation: id, generations, size });
        }
    }

    /// One upload, in session after session, each of which may end at any moment.
    async fn publish(&self, path: String, rng: &mut SmallRng) {
        let endings =
            [Ending::Commit, Ending::Commit, Ending::Commit, Ending::LeaveAndCommit, Ending::Abort, Ending::Leave];
        let ending = *endings.choose(rng).unwrap_or(&Ending::Commit);
        let mode = if rng.random_bool(0.3) { UploadMode::Create } else { UploadMode::Replace };
        let if_generation =
            if rng.random_bool(0.2) { self.stat(&path).await.map(|(generation, _)| generation) } else { None };
        let id = self.notebook.upload(&path, length(rng));
        let (options, vanishes) = (self.upload_options(mode, if_generation, rng), rng.random_bool(0.3));
        let mut sending = Sending { one: self, id, path, options, ending, asked: None, is_unknown: false };
        for _ in 0..2 * TRIES {
            let most = if vanishes { rng.random_range(1..1_500) } else { 3_600_000 };
            match timeout(Duration::from_millis(most), sending.go_on()).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => self.notebook.trace.note(format!("upload {id} is left in the middle")),
            }
            sleep(Duration::from_millis(rng.random_range(1..300))).await;
        }
    }

    fn upload_options(&self, mode: UploadMode, if_generation: Option<u64>, rng: &mut SmallRng) -> UploadOptions {
        UploadOptions {
            mode,
            if_generation,
            producer: Named::Named { id: self.name.clone(), epoch: Some(1) },
            chunk_bytes: *[100, 1_000, 16_000].choose(rng).unwrap_or(&100),
            window_bytes: 64_000,
            ..UploadOptions::default()
        }
    }

    /// Several uploads at once.
    async fn publish_set(&self, rng: &mut SmallRng) {
        let mut paths: Vec<String> = (0..rng.random_range(2..4)).map(|_| self.path(rng)).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut left = Vec::new();
        for path in paths {
            match self.leave(&path, rng).await {
                Ok(one) => left.push(one),
                Err(error) => self.notebook.trace.note(format!("a set is given up: {error}")),
            }
        }
        if left.is_empty() {
            return;
        }
        let part = |left: &Left| {
            let (path, replace) = (left.part.path.clone(), left.mode == UploadMode::Replace);
            Part { path, upload: left.id, replace }
        };
        let id = self.notebook.ask(Deed::Publish { parts: left.iter().map(part).collect() }, None);
        let parts: Vec<UploadPart> = left.into_iter().map(|left| left.part).collect();
        let files = self.client.files();
        if let Some(generations) = self.settle(id, true, || files.commit_files(parts.clone())).await {
            self.done(id, generations);
        }
    }

    /// An upload that is whole, and left.
    async fn leave(&self, path: &str, rng: &mut SmallRng) -> Result<Left, Error> {
        let mode = if rng.random_bool(0.3) { UploadMode::Create } else { UploadMode::Replace };
        let id = self.notebook.upload(path, length(rng));
        let mut upload = self.client.upload(path, self.upload_options(mode, None, rng)).await?;
        upload.write(self.notebook.data(id)).await?;
        Ok(Left { id, mode, part: upload.leave_open().await? })
    }
}

/// The path of the file of which this one was rotated away, if it was; the names are those of the default template.
fn rotated_from(file: &str) -> String {
    match file.split_once('@') {
        Some((stem, _)) => format!("{stem}.log"),
        None => file.to_owned(),
    }
}

/// Mostly short.
fn length(rng: &mut SmallRng) -> usize {
    let most = *[20, 2_000, 60_000].choose(rng).unwrap_or(&20);
    rng.random_range(1..=most)
}

/// An upload over the sessions of its client.
struct Sending<'a> {
    one: &'a One<'a>,
    id: AppendId,
    path: String,
    options: UploadOptions,
    ending: Ending,
    /// That it is to be published.
    asked: Option<OperationId>,
    /// It may be published.
    is_unknown: bool,
}

impl Sending<'_> {
    /// One session; whether it was the last one.
    async fn go_on(&mut self) -> bool {
        let client = self.one.notebook.client(self.one.number).await;
        let mut upload = match client.upload(&self.path, self.options.clone()).await {
            Ok(upload) => upload,
            Err(error) => return self.failed(&error),
        };
        let data = self.one.notebook.data(self.id);
        let begun = usize::try_from(upload.resumed_at()).unwrap_or(usize::MAX);
        if upload.is_published() {
            if !self.is_unknown {
                self.one.notebook.fault(format!("upload {} is published, and nobody asked for that", self.id));
            }
            return self.commit(upload).await;
        }
        if self.is_unknown && begun == 0 {
            // It may be published and gone again: this is another one.
            self.ending = Ending::Abort;
        }
        if begun > data.len() {
            self.one.notebook.fault(format!("{begun} bytes are kept of upload {} of {}", self.id, data.len()));
            return true;
        }
        upload.set_resumed_crc32c(crc32c::crc32c(&data[..begun]));
        if let Err(error) = upload.write(data.slice(begun..)).await {
            return self.failed(&error);
        }
        match self.ending {
            Ending::Commit => self.commit(upload).await,
            Ending::Abort => upload.abort().await.is_ok(),
            Ending::Leave => upload.leave_open().await.is_ok(),
            Ending::LeaveAndCommit => {
                if upload.leave_open().await.is_ok() {
                    self.ending = Ending::Commit;
                }
                false
            }
        }
    }

    async fn commit(&mut self, upload: Upload) -> bool {
        let notebook = self.one.notebook;
        let asked = *self.asked.get_or_insert_with(|| {
            let replace = self.options.mode == UploadMode::Replace;
            let part = Part { path: self.path.clone(), upload: self.id, replace };
            notebook.ask(Deed::Publish { parts: vec![part] }, self.options.if_generation)
        });
        // Whoever goes away in the middle does not know.
        let was_unknown = std::mem::replace(&mut self.is_unknown, true);
        match upload.commit(Expected::default()).await {
            Ok(published) => {
                self.one.done(asked, vec![published.generation]);
                true
            }
            Err(error) => {
                if error.outcome() == Outcome::NotApplied && !was_unknown {
                    self.is_unknown = false;
                    if !error.retryable() {
                        notebook.note(Event::Denied(asked));
                    }
                }
                self.failed(&error)
            }
        }
    }

    /// Whether there is no sense in another session.
    fn failed(&self, error: &Error) -> bool {
        let notebook = self.one.notebook;
        notebook.trace.note(format!("upload {} failed: {error}", self.id));
        if matches!(error.reason(), Some(ErrorReason::SizeMismatch | ErrorReason::ChecksumMismatch)) {
            notebook.fault(format!("upload {} has other bytes than were sent: {error}", self.id));
        }
        !error.retryable()
    }
}
