//! The agents' Role is as small as can be: each of its rights is taken from a running cluster, and what needs it does not happen until
//! it is given back. Writes go on meanwhile, but where the right is what the lead hangs on; and what is only for people to see
//! may be forbidden altogether.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Request, Target};
use pgha_schema::desired::AgentBinary;
use pgha_schema::names::{
    AGENT_MANAGER, ANNOTATION_SYSTEM_IDENTIFIER, ANNOTATION_TEMPLATE_HASH, LABEL_ROLE, Names, agent_chunk,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::bed::Bed;
use crate::cases;
use crate::drift::edit_desired;
use crate::group::{Group, Site, WHOLE, WRITES};
use crate::rights;
use crate::runner::Case;
use crate::scene::Scene;
use crate::upgrade::{binary_of, runs_everywhere, wished_agent};

/// How long the API server may take to judge by a Role that was changed.
const JUDGED: Duration = Duration::from_secs(20);
/// How long an agent may take to ask for what it needs: what is looked at now and then is looked at every five seconds.
const ASKED: Duration = Duration::from_secs(60);
/// Bytes in one ConfigMap of an agent.
const CHUNK: usize = 1_000_000;

pub fn cases() -> Vec<Case> {
    cases![
        => each_right_of_the_agents_is_needed,
        => a_failover_needs_no_right_to_tell_of_it,
    ]
}

async fn each_right_of_the_agents_is_needed(group: &mut Group) -> Result<()> {
    let bed = std::sync::Arc::clone(&group.bed);
    let site = group.cluster_with(2).await?;
    let other = OtherAgent::made(&site.cluster).await?;
    let trial = Trial::new(&bed, site, &other.binary).await?;
    let load = site.load("fewer_rights").await?;
    load.until_more(20).await?;
    for right in &trial.rights {
        trial.without(right, &other, &load).await.with_context(|| format!("without {right}"))?;
    }
    mended(site, load).await
}

/// Status, events and marks are for people and for later: somebody leads without them, and is found.
async fn a_failover_needs_no_right_to_tell_of_it(group: &mut Group) -> Result<()> {
    let bed = std::sync::Arc::clone(&group.bed);
    let site = group.cluster_with(2).await?;
    let trial = Trial::new(&bed, site, &wished_agent(&site.cluster).await?).await?;
    let tells = |right: &&Right| {
        let need = right.need(&site.cluster.names);
        need.is_ok_and(|need| matches!(need, Need::Status | Need::Event | Need::ClaimMark | Need::SetMark))
    };
    let telling: Vec<&Right> = trial.rights.iter().filter(tells).collect();
    ensure!(telling.len() == 5, "expected five rights to tell, got {telling:?}");
    let load = site.load("untold").await?;
    load.until_more(20).await?;
    let (taken, led) = (bed.sandbox.end_of_requests()?, site.cluster.record().await?.holder);
    trial.hold(&telling, false).await?;
    bed.sandbox.kill_in_pod(&site.namespace, &site.cluster.primary().await?, Target::Init)?;
    until("another container to lead", WRITES, || async {
        let leads = site.cluster.record().await?.holder;
        Ok(Seen::when(leads != led, format!("the record's holder is {leads:?}")))
    })
    .await?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    load.until_more(50).await?;
    let asked = trial.asked(taken)?;
    for resource in ["events", "configmaps"] {
        let refused = asked.iter().any(|request| !request.allowed && request.resource == resource);
        ensure!(refused, "expected the agents to be refused {resource}, got {asked:?}");
    }
    trial.hold(&telling, true).await?;
    mended(site, load).await
}

/// Everything is as the provider has it again, and nothing is lost.
async fn mended(site: &Site, load: Load) -> Result<()> {
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    runs_everywhere(&site.cluster, &wished_agent(&site.cluster).await?.sha256).await?;
    site.tf.plan_is_empty("rights that were taken and given back").await?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    site.nothing_lost(&load.finish().await?).await
}

/// One verb on one resource: of all names, or of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    group: String,
    resource: String,
    verb: String,
    names: Vec<String>,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self.names.first().map(|name| format!(" {name}")).unwrap_or_default();
        write!(f, "{} on {}{named}", self.verb, self.resource)
    }
}

impl Right {
    fn each(rule: &PolicyRule) -> Vec<Self> {
        let names = rule.resource_names.clone().unwrap_or_default();
        let of_names = |one: rights::Right| Self {
            group: one.group,
            resource: one.resource,
            verb: one.verb,
            names: names.clone(),
        };
        rights::each(rule).into_iter().map(of_names).collect()
    }

    fn rule(&self) -> PolicyRule {
        PolicyRule {
            api_groups: Some(vec![self.group.clone()]),
            resources: Some(vec![self.resource.clone()]),
            verbs: vec![self.verb.clone()],
            resource_names: Some(self.names.clone()).filter(|names| !names.is_empty()),
            ..PolicyRule::default()
        }
    }

    /// Whether it is this right that the request takes.
    fn covers(&self, request: &Request) -> bool {
        (&self.group, &self.resource, &self.verb) == (&request.group, &request.resource, &request.verb)
            && (self.names.is_empty() || request.name.as_ref().is_some_and(|name| self.names.contains(name)))
    }

    fn need(&self, names: &Names) -> Result<Need> {
        let name = self.names.first().map(String::as_str).unwrap_or_default();
        Ok(match (self.verb.as_str(), self.resource.as_str()) {
            ("create", "leases") => Need::LostLease,
            ("update", "leases") => Need::Takeover,
            ("get", "leases" | "statefulsets") | ("list", "persistentvolumeclaims") => Need::Always,
            ("list" | "watch", "leases" | "configmaps" | "pods") => Need::Start,
            ("get", "configmaps") if name == names.desired() => Need::BreakGlass,
            ("get" | "patch", "configmaps") if name == names.status() => Need::Status,
            ("get", "configmaps") => Need::Exchange,
            ("delete", "pods") => Need::Roll,
            ("patch", "pods") => Need::Label,
            ("patch", "persistentvolumeclaims") => Need::ClaimMark,
            ("patch", "statefulsets") => Need::SetMark,
            ("create", "events") => Need::Event,
            _ => bail!("nothing here is known to need it"),
        })
    }
}

/// What takes a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It is looked at again and again.
    Always,
    /// It is written whenever something changes, and under load something does.
    Status,
    /// An agent starts.
    Start,
    /// A person asks what an emergency takes.
    BreakGlass,
    /// The Lease is lost.
    LostLease,
    /// The primary's container dies.
    Takeover,
    /// A pod was made from another template.
    Roll,
    /// A pod has lost its label.
    Label,
    /// A claim has lost the mark that it holds data.
    ClaimMark,
    /// The StatefulSet has.
    SetMark,
    /// Something has happened that people are told.
    Event,
    /// Another agent is wished for.
    Exchange,
}

/// Another build of the running agent, in ConfigMaps, as a provider brings it.
struct OtherAgent {
    binary: AgentBinary,
}

impl OtherAgent {
    async fn made(cluster: &Cluster) -> Result<Self> {
        let running = wished_agent(cluster).await?;
        let binary = [&binary_of(cluster, &running).await?[..], b"fewer rights"].concat();
        let sha256 = hex::encode(Sha256::digest(&binary));
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(&binary)?;
        let mut chunks = Vec::new();
        for (index, bytes) in writer.finish()?.chunks(CHUNK).enumerate() {
            let name = agent_chunk(&sha256[..16], index);
            let map = ConfigMap {
                metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
                binary_data: Some([("part".to_owned(), ByteString(bytes.to_vec()))].into()),
                ..ConfigMap::default()
            };
            cluster.api::<ConfigMap>().create(&PostParams::default(), &map).await?;
            chunks.push(name);
        }
        Ok(Self { binary: AgentBinary { version: running.version, sha256, chunks } })
    }
}

/// A cluster whose agents have one right less at a time.
struct Trial<'a> {
    bed: &'a Bed,
    site: &'a Site,
    cluster: &'a Cluster,
    /// All that the provider gives them.
    rights: Vec<Right>,
}

impl<'a> Trial<'a> {
    /// With the rights of the live Role; the agent's ConfigMaps are those of this one, as they would be after an exchange.
    async fn new(bed: &'a Bed, site: &'a Site, agent: &AgentBinary) -> Result<Self> {
        let cluster = &site.cluster;
        let role = cluster.api::<Role>().get(cluster.names.cluster()).await?;
        let carried = wished_agent(cluster).await?.chunks;
        let mut rights: Vec<Right> = role.rules.iter().flatten().flat_map(Right::each).collect();
        let chunks = rights.iter_mut().find(|right| right.names == carried);
        chunks.context("no right to fetch an agent")?.names.clone_from(&agent.chunks);
        ensure!(rights.len() > 15, "expected all that agents do to take rights, got {rights:?}");
        Ok(Self { bed, site, cluster, rights })
    }

    async fn scene(&self) -> Result<Scene> {
        Scene::of(self.bed, self.cluster).await
    }

    /// Takes these from the Role, or gives them back; returns once the API server judges so.
    async fn hold(&self, these: &[&Right], held: bool) -> Result<()> {
        let rules: Vec<PolicyRule> =
            self.rights.iter().filter(|right| held || !these.contains(right)).map(Right::rule).collect();
        self.cluster.patch::<Role>(self.cluster.names.cluster(), json!({ "rules": rules })).await?;
        until("the API server to judge by the changed Role", JUDGED, || async {
            for right in these {
                if self.allows(right).await? != held {
                    return Ok(Seen::NotYet(format!("{right} is not judged so")));
                }
            }
            Ok(Seen::Yes(()))
        })
        .await
    }

    async fn allows(&self, right: &Right) -> Result<bool> {
        let (namespace, account) = (&self.cluster.namespace, self.cluster.names.cluster());
        let review = serde_json::from_value::<SubjectAccessReview>(json!({ "metadata": {}, "spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "resourceAttributes": {
                "namespace": namespace, "group": right.group, "resource": right.resource,
                "verb": right.verb, "name": right.names.first(),
            },
        }}))?;
        let api: Api<SubjectAccessReview> = Api::all(self.cluster.client().clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    fn asked(&self, since: u64) -> Result<Vec<Request>> {
        self.bed.sandbox.requests_since(since, &self.cluster.namespace, self.cluster.names.cluster())
    }

    /// One right is taken, needed, missed and given back.
    async fn without(&self, right: &Right, other: &OtherAgent, load: &Load) -> Result<()> {
        let need = right.need(&self.cluster.names)?;
        let scene = self.scene().await?;
        let taken = self.bed.sandbox.end_of_requests()?;
        self.hold(&[right], false).await?;
        self.strike(need, &scene, other).await?;
        let before = self.seen(need, &scene, other).await?;
        until("the API server to refuse an agent", ASKED, || async {
            // The old primary alone would ask for its own record again whatever the others do.
            let counts = |request: &&Request| {
                right.covers(request)
                    && (need != Need::Takeover || request.pod.as_ref() != Some(&scene.primary))
            };
            let asked = self.asked(taken)?;
            let refused = asked.iter().filter(counts).any(|request| !request.allowed);
            Ok(Seen::when(refused, format!("of {} requests none was refused", asked.len())))
        })
        .await?;
        if !matches!(need, Need::LostLease | Need::Takeover) {
            load.until_acknowledged_after(Instant::now(), WRITES).await?;
        }
        let now = self.seen(need, &scene, other).await?;
        ensure!(now == before, "expected {need:?} to wait for the right, {before:?} became {now:?}");
        let asked = self.asked(taken)?;
        let strays: Vec<_> = asked.iter().filter(|one| !one.allowed && !right.covers(one)).collect();
        ensure!(strays.is_empty(), "expected nothing else to be refused, got {strays:?}");

        let given = self.bed.sandbox.end_of_requests()?;
        self.hold(&[right], true).await?;
        if need == Need::Event {
            // Each is told once, or not at all.
            self.strike(need, &scene, other).await?;
        }
        until(&format!("{need:?} to be done with the right"), WHOLE, || async {
            let now = self.seen(need, &scene, other).await?;
            let used = self.asked(given)?.iter().any(|one| one.allowed && right.covers(one));
            let done = used && (now.is_none() || now != before);
            Ok(Seen::when(done, format!("{before:?} became {now:?}, the right was used: {used}")))
        })
        .await?;
        load.until_acknowledged_after(Instant::now(), WRITES).await?;
        self.cluster.until_whole(2, WHOLE).await.map(drop)
    }

    /// Makes the cluster need it.
    async fn strike(&self, need: Need, scene: &Scene, other: &OtherAgent) -> Result<()> {
        let (cluster, names) = (self.cluster, &self.cluster.names);
        let unmarked = json!({ "metadata": { "annotations": { ANNOTATION_SYSTEM_IDENTIFIER: null } } });
        match need {
            Need::Always | Need::Status | Need::BreakGlass => Ok(()),
            Need::Start => scene.agent(&scene.other)?.signal(Signal::SIGKILL),
            Need::LostLease => {
                cluster.api::<Lease>().delete(names.cluster(), &DeleteParams::default()).await?;
                Ok(())
            }
            Need::Takeover => {
                self.bed.sandbox.kill_in_pod(&cluster.namespace, &scene.primary, Target::Init).map(drop)
            }
            Need::Roll => {
                let outdated =
                    json!({ "metadata": { "annotations": { ANNOTATION_TEMPLATE_HASH: "an old one" } } });
                cluster.patch::<Pod>(&scene.other, outdated).await
            }
            Need::Label => {
                cluster
                    .patch::<Pod>(&scene.other, json!({ "metadata": { "labels": { LABEL_ROLE: null } } }))
                    .await
            }
            Need::ClaimMark => cluster.patch::<PersistentVolumeClaim>(&names.claim(0), unmarked).await,
            Need::SetMark => cluster.patch::<StatefulSet>(names.cluster(), unmarked).await,
            Need::Event => {
                for handle in ["pause", "resume"] {
                    let told = cluster.exec_within(&scene.other, &["pgha-agent", handle], WRITES).await?;
                    ensure!(told.success, "expected {handle} to be done, got {told:?}");
                }
                Ok(())
            }
            Need::Exchange => {
                let wished = serde_json::to_value(&other.binary)?;
                edit_desired(self.site, |desired| desired["agent"] = wished.clone()).await
            }
        }
    }

    /// What is another text once it was done; none where only the requests tell.
    async fn seen(&self, need: Need, scene: &Scene, other: &OtherAgent) -> Result<Option<String>> {
        let (cluster, names) = (self.cluster, &self.cluster.names);
        let marked = |metadata: &ObjectMeta| {
            let annotations = metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(ANNOTATION_SYSTEM_IDENTIFIER)).to_string()
        };
        Ok(match need {
            Need::Always | Need::Start => None,
            Need::Status => cluster.api::<ConfigMap>().get(&names.status()).await?.metadata.resource_version,
            Need::BreakGlass => {
                let told = cluster.exec(&scene.other, &["pgha-agent", "break-glass"]).await?;
                Some(told.stderr.contains("it is not lost").to_string())
            }
            Need::LostLease => {
                let lease = cluster.api::<Lease>().get_opt(names.cluster()).await?;
                Some(lease.and_then(|lease| lease.metadata.uid).unwrap_or_default())
            }
            Need::Takeover => Some(format!("{:?}", cluster.record().await?.holder)),
            Need::Roll => {
                let pod = cluster.api::<Pod>().get_opt(&scene.other).await?;
                Some(pod.and_then(|pod| pod.metadata.uid).unwrap_or_default())
            }
            Need::Label => {
                let labels = cluster.api::<Pod>().get(&scene.other).await?.metadata.labels;
                Some(labels.is_some_and(|labels| labels.contains_key(LABEL_ROLE)).to_string())
            }
            Need::ClaimMark => {
                Some(marked(&cluster.api::<PersistentVolumeClaim>().get(&names.claim(0)).await?.metadata))
            }
            Need::SetMark => Some(marked(&cluster.api::<StatefulSet>().get(names.cluster()).await?.metadata)),
            Need::Event => {
                let all = cluster.api::<Event>().list(&ListParams::default()).await?.items;
                let ours = |event: &&Event| event.reporting_component.as_deref() == Some(AGENT_MANAGER);
                Some(all.iter().filter(ours).count().to_string())
            }
            Need::Exchange => {
                let instances = cluster.status().await?.instances;
                Some(instances.values().any(|one| one.agent_sha256 == other.binary.sha256).to_string())
            }
        })
    }
}
