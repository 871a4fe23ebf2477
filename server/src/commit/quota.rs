//! What tenants store: their limits hold over all shards, and are charged where an append is decided on. Exact: a tenant
//! with a limit is charged before anything is taken, and every shard corrects its part when a commit is through.

use crate::{
    admission::{Admission, Stored, Tenant},
    shard::state::{Files, Usage},
};
use inkpot_proto::{error::Refused, path::TenantName, v1::ErrorReason};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// What this shard has charged its tenants for.
#[derive(Debug)]
pub(super) struct Account {
    admission: Arc<Admission>,
    shard: u32,
    charged: HashMap<TenantName, (Arc<Tenant>, Usage)>,
    /// Tenants that were charged since it was last corrected; what they were charged for may have been refused.
    reserved: Vec<TenantName>,
}

impl Account {
    /// Charges for what is there, in the place of what the shard charged before a failure.
    pub(super) fn new(admission: Arc<Admission>, shard: u32, files: &mut Files) -> Self {
        let charged = admission.take_charged(shard).into_iter();
        let charged = charged.map(|(name, charged)| (name.clone(), (admission.tenant(&name), charged)));
        let mut account = Self { charged: charged.collect(), admission, shard, reserved: Vec::new() };
        let there = files.usage().map(|(tenant, _)| tenant.clone());
        let tenants: HashSet<TenantName> = there.chain(account.charged.keys().cloned()).collect();
        tenants.into_iter().for_each(|tenant| account.settle_one(files, tenant));
        account.settle(files);
        account.admission.counted(shard);
        account
    }

    /// Charges for bytes that are about to be stored.
    pub(super) fn reserve_bytes(&mut self, name: &TenantName, len: u64) -> Result<(), Box<Refused>> {
        self.reserve(name, Stored { bytes: len, files: 0 })
    }

    /// Charges for a file that is about to be made.
    pub(super) fn reserve_file(&mut self, name: &TenantName) -> Result<(), Box<Refused>> {
        self.reserve(name, Stored { bytes: 0, files: 1 })
    }

    fn reserve(&mut self, name: &TenantName, more: Stored) -> Result<(), Box<Refused>> {
        let (tenant, charged) = self.of(name);
        if !tenant.stored.is_limited() {
            // It is charged when the commit is through.
            return Ok(());
        }
        if tenant.stored.reserve(more).is_ok() {
            charged.bytes += more.bytes;
            charged.files += more.files;
            if self.reserved.last() != Some(name) {
                self.reserved.push(name.clone());
            }
            return Ok(());
        }
        let (limit, has, most, what) = if more.files > 0 {
            ("files", tenant.stored.files(), tenant.stored.files_limit(), "files")
        } else {
            ("stored_bytes", tenant.stored.bytes(), tenant.stored.bytes_limit(), "bytes")
        };
        let text = format!("tenant {name} has {has} {what} of {limit} = {most}; delete some, or raise the limit");
        Err(Box::new(Refused::new(ErrorReason::QuotaExceeded, text).with_limit(limit)))
    }

    /// Corrects what was charged to what is there.
    pub(super) fn settle(&mut self, files: &mut Files) {
        for tenant in files.take_usage_changed().into_iter().chain(std::mem::take(&mut self.reserved)) {
            self.settle_one(files, tenant);
        }
    }

    fn settle_one(&mut self, files: &Files, name: TenantName) {
        let there = files.usage_of(&name);
        let (tenant, charged) = self.of(&name);
        tenant.stored.correct(*charged, there);
        *charged = there;
    }

    fn of(&mut self, name: &TenantName) -> &mut (Arc<Tenant>, Usage) {
        let admission = &self.admission;
        self.charged.entry(name.clone()).or_insert_with(|| (admission.tenant(name), Usage::default()))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // It stays charged until the shard has found out what is there.
        let charged = self.charged.drain().map(|(name, (_, charged))| (name, charged));
        self.admission.keep_charged(self.shard, charged.collect());
    }
}
