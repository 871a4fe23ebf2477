//! AdminService: Verify, a call that goes through the files of a tenant one by one. One file, one piece and one page of
//! names are in memory; whoever does not take what is told holds the call up, and whoever goes ends it.

use super::{Services, convert::file as checks, draining, layers::Deadline, tenant_of};
use crate::{
    apply::{
        verify::{Finding, Pace, Verdict, look},
        view::FileView,
    },
    shard::{ids::FileKey, listing::Entry},
};
use inkpot_proto::{
    error::Refused,
    path::{FilePath, TenantName},
    v1::{self, ErrorReason, admin_service_server::AdminService},
};
use std::{
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
                self.told.so_far.done = true;
                self.tell(None).await;
                return Ok(());
            }
        }
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
            self.tell(damaged).await;
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
                () = time::sleep_until(self.told.at + TELL_EVERY) => self.tell(None).await,
            }
        }
    }

    async fn tell(&mut self, damaged: Option<v1::DamagedFile>) {
        self.told.so_far.bytes = self.pace.read.load(Ordering::Relaxed);
        self.told.at = Instant::now();
        // Whoever waits for this sees that the client is gone.
        let _ = self.client.send(Ok(v1::VerifyResponse { damaged, ..self.told.so_far.clone() })).await;
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
