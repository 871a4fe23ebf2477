//! AdminService: Verify, a call that goes through the files of a tenant one by one. One file, one piece and one page of
//! names are in memory; whoever does not take what is told holds the call up, and whoever goes ends it.

use super::{Services, adopt::walk::walk, convert::file as checks, draining, layers::Deadline, tenant_of};
use crate::{
    apply::{
        verify::{Finding, Pace, Verdict, look},
        view::{COMPRESSED_SUFFIX, FileView, staged_path},
    },
    datadir::layout,
    shard::{
        ids::{FileId, FileKey},
        listing::Entry,
    },
};
use inkpot_proto::{
    error::Refused,
    path::{FilePath, TenantName},
    v1::{self, ErrorReason, admin_service_server::AdminService},
};
use inkpot_wal::fs::parent;
use std::{
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Calls that work at a time.
pub(super) const AT_ONCE: usize = 2;
/// Names that are asked for at once.
const PAGE_FILES: usize = 500;
/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often a file is looked at that is another one each time, or in which something is wrong.
const LOOKS: u32 = 4;
/// How long before it is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

type Answer = Result<v1::VerifyResponse, Status>;

/// The service.
#[derive(Clone, Debug)]
pub struct Admin(Arc<Services>);

impl Admin {
    /// In front of these.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        Self(services)
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type VerifyStream = ReceiverStream<Answer>;

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let tenant = tenant_of(&request)?;
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let prefix = request.into_inner().prefix;
        checks::check_prefix(&prefix)?;
        let (client, answers) = mpsc::channel(1);
        let pace = Arc::new(Pace::new(self.0.config.keeper.pause));
        let verifier = Verifier { services: Arc::clone(&self.0), tenant, prefix, client, pace, told: Told::now() };
        self.0.tasks.spawn(verifier.run(deadline));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// Goes through the files for one call.
struct Verifier {
    services: Arc<Services>,
    tenant: TenantName,
    prefix: String,
    client: mpsc::Sender<Answer>,
    pace: Arc<Pace>,
    told: Told,
}

/// What the client was told, and when.
struct Told {
    at: Instant,
    so_far: v1::VerifyResponse,
}

impl Told {
    fn now() -> Self {
        Self { at: Instant::now(), so_far: v1::VerifyResponse::default() }
    }
}

/// What became of a file that was to be looked at.
enum Outcome {
    Settled(Verdict, u64),
    Unsettled,
}

impl Verifier {
    async fn run(mut self, deadline: Option<Instant>) {
        let (client, drain) = (self.client.clone(), self.services.drain.clone());
        // Whatever ends this, the thread that reads is not to go on.
        let _stop = StopOnDrop(Arc::clone(&self.pace));
        let passed = async {
            match deadline {
                Some(at) => time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            end = self.verify_all() => end,
            () = client.closed() => Ok(()),
            () = drain.cancelled() => Err(draining()),
            () = passed => Err(Refused::new(ErrorReason::Deadline, "the deadline of the call has passed")),
        };
        if let Err(refused) = end {
            // A client that is gone needs no reason.
            let _ = client.send(Err(refused.to_status())).await;
        }
    }

    async fn verify_all(&mut self) -> Result<(), Refused> {
        let services = Arc::clone(&self.services);
        let turn = services.verifying.acquire().await;
        let _turn = turn.map_err(|_| draining())?;
        let mut from = String::new();
        loop {
            let page = services.files_below(&self.tenant, self.prefix.clone(), from, PAGE_FILES);
            let (found, is_more) = page.await?;
            from = found.last().map(|(entry, _)| entry.behind()).unwrap_or_default();
            for (entry, _) in found {
                if let Entry::File(file) = entry {
                    self.verify(file.path).await?;
                }
            }
            if !is_more {
                break;
            }
        }
        self.find_unknown().await?;
        self.told.so_far.staged = self.count_staged().await;
        self.told.so_far.done = true;
        self.tell(None, String::new()).await;
        Ok(())
    }

    /// Looks for plain files that no path of ours leads to.
    async fn find_unknown(&mut self) -> Result<(), Refused> {
        let start = self.prefix.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned();
        if !start.is_empty() && FilePath::parse(&start).is_err() {
            return Ok(());
        }
        let (prefix, mut last) = (self.prefix.clone(), String::new());
        loop {
            let (root, dir, after) = (format!("{}/{}", layout::FILES, self.tenant), start.clone(), last.clone());
            let begun = Instant::now();
            let walked = self.services.fs_call(move |fs| Ok(walk(fs, &root, &dir, &after, PAGE_FILES))).await;
            let (found, is_more) = walked.map_err(|error| Refused::new(ErrorReason::Internal, error.to_string()))?;
            last = found.last().map(|found| found.path.clone()).unwrap_or_default();
            for found in found.into_iter().filter(|found| found.path.starts_with(&prefix)) {
                if found.problem.is_some() || self.is_unknown(&found.path).await? {
                    self.told.so_far.unknown += 1;
                    self.tell(None, found.path).await;
                } else if self.told.at.elapsed() >= TELL_EVERY {
                    self.tell(None, String::new()).await;
                }
            }
            if !is_more {
                return Ok(());
            }
            // Half of the time is for everybody else.
            time::sleep(begun.elapsed()).await;
        }
    }

    /// Whether there is a plain file that a second look does not know either: one that is just being made is known soon.
    async fn is_unknown(&self, path: &str) -> Result<bool, Refused> {
        for look in 0..2 {
            if look > 0 {
                time::sleep(LOOK_AGAIN_AFTER).await;
            }
            if self.is_known(path).await? {
                return Ok(false);
            }
        }
        let plain = format!("{}/{}/{path}", layout::FILES, self.tenant);
        Ok(self.services.fs_call(move |fs| fs.metadata(&plain)).await.is_ok())
    }

    async fn is_known(&self, path: &str) -> Result<bool, Refused> {
        let compressed = path.strip_suffix(COMPRESSED_SUFFIX);
        for (path, is_compressed) in [Some((path, false)), compressed.map(|path| (path, true))].into_iter().flatten() {
            let Ok(path) = FilePath::parse(path) else { continue };
            let key = FileKey { tenant: self.tenant.clone(), path };
            match self.services.shard(&key).lookup(&key).await {
                Ok(None) => {}
                Ok(Some(view)) if is_compressed && view.state().compressed.is_none() => {}
                Err(refused) if refused.reason != ErrorReason::BeingDecided => return Err(refused),
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn count_staged(&self) -> u64 {
        if !self.prefix.is_empty() {
            return 0;
        }
        let mut staged = 0;
        for shard in self.services.shards.iter() {
            let one = staged_path(&self.tenant, shard.number, FileId(0));
            // Without any there may be no directory.
            let entries: io::Result<_> = self.services.fs_call(move |fs| fs.read_dir(parent(&one))).await;
            staged += entries.map_or(0, |entries| entries.iter().filter(|entry| !entry.is_dir).count()) as u64;
        }
        staged
    }

    async fn verify(&mut self, path: FilePath) -> Result<(), Refused> {
        let key = FileKey { tenant: self.tenant.clone(), path };
        let outcome = self.settle(&key).await?;
        let so_far = &mut self.told.so_far;
        let damaged = match outcome {
            Outcome::Settled(Verdict::Gone, _) => return Ok(()),
            Outcome::Settled(Verdict::Good, _) => None,
            Outcome::Settled(Verdict::WithoutChecksum, _) => {
                so_far.without_checksum += 1;
                None
            }
            Outcome::Settled(Verdict::Wrong(finding), generation) => Some(damaged_file(&key, generation, finding)),
            Outcome::Unsettled => {
                so_far.unsettled += 1;
                None
            }
        };
        so_far.files += 1;
        if damaged.is_some() || self.told.at.elapsed() >= TELL_EVERY {
            self.tell(damaged, String::new()).await;
        }
        Ok(())
    }

    /// Looks at a file until it stands still: nothing is said against it that a second look at the same content, under
    /// the path that it had before, does not confirm.
    async fn settle(&mut self, key: &FileKey) -> Result<Outcome, Refused> {
        let mut before = None;
        for look in 0..LOOKS {
            if look > 0 {
                time::sleep(LOOK_AGAIN_AFTER).await;
            }
            let view = match self.services.shard(key).lookup(key).await {
                Ok(Some(view)) => view,
                Ok(None) => return Ok(Outcome::Settled(Verdict::Gone, 0)),
                Err(refused) if refused.reason == ErrorReason::BeingDecided => continue,
                Err(refused) => return Err(refused),
            };
            match self.look(&view).await? {
                Verdict::Gone => {}
                Verdict::Wrong(finding) if view.key() == *key && view.state().gone.is_none() => {
                    if before == Some((view.id, finding.damage)) {
                        return Ok(Outcome::Settled(Verdict::Wrong(finding), view.generation));
                    }
                    before = Some((view.id, finding.damage));
                }
                Verdict::Wrong(_) => before = None,
                verdict => return Ok(Outcome::Settled(verdict, view.generation)),
            }
        }
        Ok(Outcome::Unsettled)
    }

    /// Looks once, and tells how far it is meanwhile.
    async fn look(&mut self, view: &Arc<FileView>) -> Result<Verdict, Refused> {
        let (fs, view, pace) = (Arc::clone(&self.services.fs), Arc::clone(view), Arc::clone(&self.pace));
        let mut looking = pin!(self.services.host.blocking(move || look(fs.as_ref(), &view, &pace)));
        loop {
            tokio::select! {
                looked = &mut looking => {
                    // Cancelled is only what nobody waits for.
                    let looked = looked.map(|looked| looked.map_err(|_| draining()));
                    return looked.unwrap_or_else(|error| Err(Refused::new(ErrorReason::Internal, error.to_string())));
                }
                () = time::sleep_until(self.told.at + TELL_EVERY) => self.tell(None, String::new()).await,
            }
        }
    }

    async fn tell(&mut self, damaged: Option<v1::DamagedFile>, unknown_path: String) {
        self.told.so_far.bytes = self.pace.read.load(Ordering::Relaxed);
        self.told.at = Instant::now();
        // Whoever waits for this sees that the client is gone.
        let _ = self.client.send(Ok(v1::VerifyResponse { damaged, unknown_path, ..self.told.so_far.clone() })).await;
    }
}

fn damaged_file(key: &FileKey, generation: u64, finding: Finding) -> v1::DamagedFile {
    let Finding { damage, expected_size, found_size, expected_crc32c, found_crc32c, detail } = finding;
    tracing::error!(file = %key, damage = damage.as_str_name(), detail, "a plain file is not what was committed");
    v1::DamagedFile {
        path: key.path.to_string(),
        damage: damage.into(),
        generation,
        expected_size,
        found_size,
        expected_crc32c,
        found_crc32c,
        detail,
    }
}

/// Tells the thread that reads for a call that nobody waits for it any more.
struct StopOnDrop(Arc<Pace>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}
