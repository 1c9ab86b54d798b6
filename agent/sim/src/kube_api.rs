//! A toy API server: one Lease with versions, pods, claims, documents. Every access is a compare-and-swap or a read.

use std::collections::BTreeMap;

use pgha_agent_core::observation::LeaseVersion;
use pgha_schema::desired::{Desired, document_sha256};
use pgha_schema::ids::SystemIdentifier;
use pgha_schema::record::Record;
use pgha_schema::status::ClusterStatus;

/// What the server holds beside the pods, which the world holds.
pub struct KubeApi {
    /// The Lease.
    pub lease: Option<(LeaseVersion, Record)>,
    counter: u64,
    /// The wish.
    pub desired: Desired,
    /// SHA-256 of its text.
    pub sha256: String,
    /// Annotations of the claims.
    pub stamped: BTreeMap<u32, SystemIdentifier>,
    /// Annotation of the StatefulSet.
    pub set_stamped: Option<SystemIdentifier>,
    /// The status document.
    pub status: Option<ClusterStatus>,
    /// Pods that the StatefulSet keeps.
    pub set_replicas: u32,
    /// Nobody reaches it.
    pub down: bool,
    /// Reads work, writes fail.
    pub read_only: bool,
    /// Patches of claims and of the StatefulSet are refused.
    pub refuses_marks: bool,
    /// Claims and the StatefulSet can't be read.
    pub hides_marks: bool,
    /// Answers take this long more, in milliseconds of global time.
    pub slow_ms: u64,
    /// Every n-th answer is lost after the write; 0: none.
    pub lose_every: u64,
    calls: u64,
    /// Writes that are still on their way although their sender gave up.
    pub late: Vec<(u64, LeaseVersion, Record)>,
}

/// Outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is written.
    Written,
    /// The version was not the newest.
    Conflict,
}

impl KubeApi {
    /// The holder's status, onto what is there.
    pub fn write_status(&mut self, status: ClusterStatus) {
        self.status = match self.status.take() {
            Some(stored) => Some(status.over(&stored).unwrap_or(stored)),
            None => Some(status),
        };
    }

    /// With the provider's first record.
    pub fn new(desired: Desired, record: Option<Record>) -> Self {
        let mut api = Self {
            lease: None,
            counter: 0,
            sha256: document_sha256(&desired.to_text()),
            set_replicas: desired.replicas + 1,
            desired,
            stamped: BTreeMap::new(),
            set_stamped: None,
            status: None,
            down: false,
            read_only: false,
            refuses_marks: false,
            hides_marks: false,
            slow_ms: 0,
            lose_every: 0,
            calls: 0,
            late: Vec::new(),
        };
        if let Some(record) = record {
            api.create(record);
        }
        api
    }

    fn version(&mut self, uid: Option<String>) -> LeaseVersion {
        self.counter += 1;
        LeaseVersion {
            uid: uid.unwrap_or_else(|| format!("lease-{}", self.counter)),
            resource_version: self.counter.to_string(),
        }
    }

    /// POST.
    pub fn create(&mut self, record: Record) -> Put {
        if self.lease.is_some() {
            return Put::Conflict;
        }
        let version = self.version(None);
        self.lease = Some((version, record));
        Put::Written
    }

    /// PUT with a precondition.
    pub fn replace(&mut self, if_version: &LeaseVersion, record: Record) -> Put {
        match &self.lease {
            Some((version, _)) if version == if_version => {
                let version = self.version(Some(if_version.uid.clone()));
                self.lease = Some((version, record));
                Put::Written
            }
            Some(_) | None => Put::Conflict,
        }
    }

    /// The provider writes a new wish.
    pub fn wish(&mut self, change: impl FnOnce(&mut Desired)) {
        change(&mut self.desired);
        self.desired.generation += 1;
        self.sha256 = document_sha256(&self.desired.to_text());
    }

    /// The agents' right to claims and the StatefulSet goes, or comes back.
    pub fn hide_marks(&mut self, hidden: bool) {
        (self.hides_marks, self.refuses_marks) = (hidden, hidden);
    }

    /// Whether the answer to this call is lost.
    pub fn loses(&mut self) -> bool {
        self.calls += 1;
        self.lose_every > 0 && self.calls.is_multiple_of(self.lose_every)
    }
}
