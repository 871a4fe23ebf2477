//! What whole files need of the machine: the stager of uploads, operations, copies that are prepared for a truncation.

use super::machine::{Machine, Stop, key};
use crate::{
    apply::{
        compress::{Target, copy_file},
        plain::keep_staging_dir,
        view::staged_path,
    },
    commit::{refuse_item, stager::Job},
    shard::{
        Batch, Write, WriteBody,
        operation::{Action, Done, Operation, Operator, Prepared},
        turns::Item,
    },
};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    v1::{Durability, ErrorReason},
};
use inkpot_wal::fs::{Attributes, parent};
use std::sync::atomic::AtomicBool;
use tokio::sync::oneshot;

/// The answer to an operation.
pub type Reply = oneshot::Receiver<Result<Done, Refused>>;

impl Machine {
    pub fn ask(&mut self, item: Item) {
        let (_, tenant) = self.session();
        self.writer().turns().push(&tenant, item);
    }

    /// Queues an append.
    pub fn send_on(&mut self, channel: u32, seq: u64, data: Bytes, durability: Durability) {
        let (session, tenant) = self.session();
        let permit = tenant.try_acquire(data.len() as u64).unwrap();
        let crc32c = crc32c::crc32c(&data);
        let body = WriteBody { data, records: 1, crc32c, expected_offset: None, durability, permit, trace: None };
        let (writes, now) = (vec![Write { channel, seq, body: Ok(body) }], self.now);
        self.writer().push_batch(Batch { session, writes, since: now }, now);
    }

    /// Queues an operation.
    pub fn operate(
        &mut self,
        path: &str,
        if_generation: Option<u64>,
        operator: Option<Operator>,
        action: Action,
    ) -> Reply {
        let (reply, answer) = oneshot::channel();
        let operation = Operation { key: key(path), if_generation, operator, action, reply };
        self.ask(Item::Operation(Box::new(operation)));
        answer
    }

    /// Lets the stager do the first `most` of its jobs.
    pub fn stage(&mut self, most: usize) -> Result<(), Stop> {
        let jobs = self.jobs.drain(..most.min(self.jobs.len())).collect();
        let (items, outcome) = self.live().stager.run(jobs);
        if let Err(error) = outcome {
            items.into_iter().for_each(|item| refuse_item(item, &unstaged()));
            self.drain();
            return Err(error.into());
        }
        self.writer().staged(items);
        Ok(())
    }

    /// The shard has closed: what waits for the stager is refused.
    pub fn refuse_jobs(&mut self) {
        self.jobs.drain(..).map(Job::into_item).for_each(|item| refuse_item(item, &unstaged()));
    }

    /// Copies the beginning of a file aside, as a truncation does before it asks the shard; nothing if there is no such file,
    /// or it is shorter.
    pub fn prepare(&mut self, path: &str, len: u64) -> Result<Prepared, Stop> {
        let view = self.writer().lookup(&key(path))?;
        let id = self.writer().allot_id();
        let Some(view) = view.filter(|view| len <= view.state().committed) else {
            return Ok(Prepared { id, len, crc32c: 0, compressed: None, of: 0 });
        };
        let staged = staged_path(&key(path).tenant, 0, id);
        keep_staging_dir(self.fs.as_ref(), parent(&staged))?;
        let attributes = Attributes { mode: 0o640, uid: None, gid: None };
        let target = Target { path: &staged, attributes, id };
        let crc32c = copy_file(self.fs.as_ref(), &view, len, target, &AtomicBool::new(false))?;
        self.fs.sync_dir(parent(&staged))?;
        Ok(Prepared { id, len, crc32c, compressed: None, of: view.generation })
    }

    /// A prepared copy is of no use.
    pub fn forget_prepared(&self, prepared: &Prepared) {
        // What stays is removed at the next start.
        let _ = self.fs.remove_file(&staged_path(&key("any").tenant, 0, prepared.id));
    }
}

fn unstaged() -> Refused {
    Refused::new(ErrorReason::ShardClosed, "the append was not staged")
}

/// The append or the end of a channel that a job is about.
pub fn name(job: &Job) -> (u32, Option<u64>) {
    match job {
        Job::Write { write, .. } => (write.channel, Some(write.seq)),
        Job::Finish { channel, .. } => (*channel, None),
        Job::Pass(item) => panic!("nobody asked for {item:?}"),
    }
}
