//! What must hold of every answer, each law with the rule of the design that it is for.

use std::fmt;
use std::future::Future;

use pgha_acceptance_tests::host::schema::{Attribute, Nesting, Shape, at, is_unknown, is_wholly_known, join};
use pgha_acceptance_tests::host::{
    Action, Calls, Core, Ignored, Plan, Rule, Seen, Stored, Turn, Turned, Violation, has_errors,
};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, messages, path};
use serde_json::{Value as Json, json};

use crate::generate::same_meaning;
use crate::learn::Learned;

/// A law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Every call is answered, and none by a bug.
    Answers,
    /// An error names an attribute that the schema has.
    NamesThePath,
    /// What no attribute takes is refused.
    RefusesBadInput,
    /// P3: what is valid stays so while parts of it are unknown.
    UnknownsPass,
    /// What is valid can be planned.
    Plans,
    /// A rule of the host.
    Host(Rule),
    /// P6: the same request has the same answer.
    Pure,
    /// P7: where nothing changed the plan is the prior state, byte for byte.
    NothingToDo,
    /// P4, P7: at create everything is known but what only the cluster can tell.
    KnownAtCreate,
    /// An identity is that of the state beside it.
    Identified,
    /// What the user wants ignored stays as it is.
    LeavesIgnored,
    /// P4, P5: planned inputs come from configuration and defaults alone; the prior state gives but a spelling.
    FromConfig,
    /// P7: what touches no cluster changes no output, and a cluster keeps its identity.
    OutputsKept,
    /// P7: an older provider does not put its agent in the place of a newer one.
    AgentNeverLower,
    /// P8: what is half done is not ready, and the next plan goes on with it.
    Ready,
    /// P9: a change tells what it does.
    Story,
    /// P9: what interrupts connections is warned of, and what becomes of the data.
    Warned,
    /// P11: without a configured provider nothing is looked at, and nothing is lost.
    Unconfigured,
    /// P12, P13: what differs is repaired in place.
    Repaired,
    /// P15, P16: what the provider knows of a cluster outlives its plans.
    PrivateKept,
    /// Only name, namespace and bootstrap need a new cluster.
    Replaces,
    /// P21: a replacement does not bring the old data back under a new `bootstrap`.
    BringsNothingBack,
    /// P20: no plan destroys data that is protected, and none is refused that isn't.
    Protected,
    /// P23: shrinking, another class and another major version are refused.
    Refused,
    /// P22: a state can be turned into its configuration, moved and imported.
    ComesBack,
    /// P10: what a dry run says is a warning.
    DryRun,
    /// P18: what the agents carry out succeeds.
    Applies,
    /// P1, P12: what an API server adds, what is not ours and who leads is no drift.
    AtRest,
    /// P12, P13: what was changed from outside shows, in one place.
    Shown,
    /// P14: what may not be seen is not guessed, and it is said.
    Unseen,
    /// P6, P14: where something may not be read that an apply goes by, nothing is written.
    WritesBlind,
    /// P15: gone is what is proven to be gone.
    Gone,
    /// P16: a create takes over nothing.
    Owned,
    /// P19: half-done work is kept and told as what it is.
    HalfDone,
    /// P14: a read takes rights to read alone, and reads no Secret.
    ReadsLittle,
    /// P17: a field of somebody else is taken only where the plan showed it.
    TakesNoFields,
    /// P21: kept volumes carry the record, others go.
    Volumes,
    /// What is put off is put off only where the host allows it, and for what is the reason.
    Deferred,
    /// P3: what is not known is neither guessed nor taken for nothing.
    NotGuessed,
    /// An answer holds the arguments that it is for, and all that its schema promises.
    GivesBack,
    /// A list has what is there, once, with its identity.
    Listed,
    /// An action ends, once.
    Ends,
    /// A function gives a result or an error.
    OneAnswer,
    /// A function's error names the argument at fault.
    NamesTheArgument,
    /// P24: passwords are made once.
    Passwords,
    /// P24: a cluster of one has no disruption budget, any other has.
    Budget,
}

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub law: Law,
    /// By what.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.law, self.what)
    }
}

/// Whether the laws were kept.
pub type Kept<T = ()> = Result<T, Broken>;

/// Breaks `law` unless `holds`.
pub fn ensure(holds: bool, law: Law, what: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(Broken { law, what: what() }) }
}

/// Waits for an answer; a call without one breaks [`Law::Answers`].
pub async fn answered<T>(call: impl Future<Output = anyhow::Result<T>>) -> Kept<T> {
    call.await.map_err(|error| Broken { law: Law::Answers, what: format!("{error:#}") })
}

/// The attributes whose change needs a new cluster.
pub const REPLACING: [&str; 3] = ["name", "namespace", "bootstrap"];
/// The attributes whose change touches no cluster.
pub const UNTOUCHING: [&str; 2] = ["deletion_protection", "timeouts"];
/// Outputs that only a running cluster can tell.
const TOLD_BY_THE_CLUSTER: [&str; 2] = ["ready", "system_identifier"];

/// A host, and what is known of its provider.
pub struct World<'a, C> {
    /// The host.
    pub core: &'a Core<C>,
    /// What attributes take.
    pub learned: &'a Learned,
    /// Whether the provider has a cluster to look at.
    pub live: bool,
}

/// Private state as an apply leaves it.
pub fn facts() -> Vec<u8> {
    // Base64 of `uid-1` and `cluster-1`.
    json!({ "anchor_uid": "dWlkLTE=", "cluster_id": "Y2x1c3Rlci0x" }).to_string().into_bytes()
}

/// No answer says that the provider is broken.
pub fn sound(diagnostics: &[pb::Diagnostic]) -> Kept {
    let bug = messages(diagnostics).into_iter().find(|text| text.contains("This is a bug in the provider"));
    ensure(bug.is_none(), Law::Answers, || bug.clone().unwrap_or_default())
}

/// The host's own rules.
pub fn accepted(violations: &[Violation]) -> Kept {
    match violations.first() {
        None => Ok(()),
        Some(first) => Err(Broken { law: Law::Host(first.rule), what: first.to_string() }),
    }
}

impl<C: Calls> World<'_, C> {
    /// Errors of a validation; each names an attribute.
    pub async fn validated(&self, given: &Json) -> Kept<bool> {
        let found = answered(self.core.validate(given)).await?;
        sound(&found)?;
        self.named(&found)?;
        Ok(!has_errors(&found))
    }

    /// Every error names an attribute of the schema.
    pub fn named(&self, diagnostics: &[pb::Diagnostic]) -> Kept {
        for one in diagnostics.iter().filter(|one| has_errors(std::slice::from_ref(*one))) {
            let named = one.attribute.as_ref().map(path).unwrap_or_default();
            let first = named.split(['.', '[']).next().unwrap_or_default();
            let known = self.core.attributes.iter().any(|attribute| attribute.name == first);
            ensure(known, Law::NamesThePath, || format!("{named:?}: {:?}", messages(diagnostics)))?;
        }
        Ok(())
    }

    /// A turn that gets as far as a plan, every answer in it one that the host accepts; the plan may be refused.
    pub async fn turned(&self, turn: Turn<'_>) -> Kept<(Turned, Plan)> {
        let mut turned = answered(self.core.turn(turn)).await?;
        if let Some(upgraded) = &turned.upgraded {
            seen_unchanged(Law::NothingToDo, turn.stored, upgraded)?;
        }
        if let Some(read) = &turned.read {
            self.looked(turn.stored, read)?;
        }
        sound(&turned.validated)?;
        accepted(&turned.violations)?;
        let law = if is_wholly_known(turn.config) { Law::Plans } else { Law::UnknownsPass };
        ensure(!has_errors(&turned.validated), law, || messages(&turned.validated).join("\n"))?;
        let Some(plan) = turned.plan.take() else {
            return Err(Broken { law: Law::Plans, what: format!("no plan: {turned:?}") });
        };
        sound(&plan.diagnostics)?;
        accepted(&plan.violations)?;
        if !plan.is_refused() && !plan.planned.is_null() {
            identified(&plan.planned, &plan.identity)?;
        }
        Ok((turned, plan))
    }

    /// P11: without a cluster to look at the state stays, and the user hears why.
    fn looked(&self, stored: &Stored, read: &Seen) -> Kept {
        if self.live {
            sound(&read.diagnostics)?;
            return accepted(&read.violations);
        }
        seen_unchanged(Law::Unconfigured, stored, read)?;
        let told = read.diagnostics.len() == 1 && !has_errors(&read.diagnostics);
        ensure(told, Law::Unconfigured, || format!("{:?}", messages(&read.diagnostics)))
    }

    /// The plan of a turn in which nothing is ignored; it may be refused.
    pub async fn planned(&self, stored: &Stored, given: &Json) -> Kept<Plan> {
        Ok(self.turned(Turn::of(stored, given)).await?.1)
    }

    /// What a new cluster of this configuration would have, valid as a whole or not.
    pub async fn as_new(&self, given: &Json) -> Kept<Json> {
        let plan = answered(self.core.plan(&Stored::nothing(), given, &Ignored::Nothing)).await?;
        ensure(!plan.is_refused(), Law::Plans, || messages(&plan.diagnostics).join("\n"))?;
        Ok(plan.planned)
    }

    /// Asked once more, the provider plans the same.
    pub async fn twice(&self, plan: &Plan) -> Kept {
        let twin = answered(self.core.plan(&plan.prior, &plan.written, &plan.ignored)).await?;
        let same =
            plan.wire == twin.wire && plan.private == twin.private && plan.diagnostics == twin.diagnostics;
        ensure(same, Law::Pure, || format!("{}\nand then\n{}", plan.planned, twin.planned))
    }

    /// The same for a plan that nothing may refuse.
    pub async fn agreed(&self, prior: &Stored, given: &Json) -> Kept<Plan> {
        let plan = self.planned(prior, given).await?;
        ensure(!plan.is_refused(), Law::Plans, || messages(&plan.diagnostics).join("\n"))?;
        Ok(plan)
    }

    /// The plan made during apply, which completes the first.
    pub async fn completed(&self, first: &Plan, settled: &Json) -> Kept<Plan> {
        let last = answered(self.core.plan_again(first, settled)).await?;
        sound(&last.diagnostics)?;
        accepted(&last.violations)?;
        Ok(last)
    }

    /// A state made from this configuration: plan, and what apply tells.
    pub async fn made(&self, given: &Json) -> Kept<Stored> {
        let plan = self.agreed(&Stored::nothing(), given).await?;
        Ok(as_made(&self.core.attributes, &plan))
    }

    /// Plans again over what this configuration made: nothing is to be done, byte for byte.
    pub async fn nothing_to_do(&self, law: Law, turn: Turn<'_>) -> Kept {
        let (turned, again) = self.turned(turn).await?;
        ensure(!again.is_refused(), Law::Plans, || messages(&again.diagnostics).join("\n"))?;
        ensure(again.action == Action::NoOp, law, || difference(&turn.stored.state, &again.planned))?;
        let wire = turned.upgraded.unwrap_or_default().wire;
        ensure(again.wire == wire, Law::NothingToDo, || {
            format!("equal, but not byte for byte: {wire:?}\nand\n{:?}", again.wire)
        })
    }
}

/// An identity's parts are the resource's own.
fn identified(state: &Json, identity: &Json) -> Kept {
    for (name, part) in identity.as_object().into_iter().flatten() {
        ensure(*part == state[name], Law::Identified, || format!("{name} is {}, not {part}", state[name]))?;
    }
    Ok(())
}

/// The attributes that differ.
pub fn difference(one: &Json, other: &Json) -> String {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
        return format!("{one}\nbecame\n{other}");
    };
    let differ = one.iter().filter(|(name, value)| other.get(*name) != Some(*value));
    let lines = differ
        .map(|(name, value)| format!("{name}: {value} became {}", other.get(name).unwrap_or(&Json::Null)));
    lines.collect::<Vec<_>>().join("\n")
}

/// What an apply of this plan leaves.
pub fn as_made(attributes: &[Attribute], plan: &Plan) -> Stored {
    Stored { state: made(attributes, &plan.planned), private: facts(), identity: plan.identity.clone() }
}

/// A plan whose unknowns have become known.
pub fn made(attributes: &[Attribute], planned: &Json) -> Json {
    let mut state = planned.clone();
    for attribute in attributes {
        let Some(value) = state.get_mut(&attribute.name) else { continue };
        if is_unknown(value) {
            *value = match attribute.name.as_str() {
                "ready" => json!(true),
                "system_identifier" => json!("7312345678901234567"),
                "agent_version" => json!(env!("CARGO_PKG_VERSION")),
                _ => json!("198.51.100.1"),
            };
        }
    }
    state
}

/// Whether the agent comes in an image, whose version apply finds out.
pub fn has_an_image(state: &Json) -> bool {
    !state["agent_image"].is_null()
}

/// What is known of a plan of create: all but what only the cluster tells, and no default is null.
pub fn known_at_create(attributes: &[Attribute], plan: &Plan) -> Kept {
    let mut open: Vec<&str> = TOLD_BY_THE_CLUSTER.to_vec();
    for (service, host) in [("rw", "rw_host"), ("ro", "ro_host")] {
        if at(&plan.planned, &format!("services.{service}.type")) == "LoadBalancer" {
            open.push(host);
        }
    }
    open.extend(has_an_image(&plan.planned).then_some("agent_version"));
    for output in attributes.iter().filter(|one| one.is_output()) {
        let value = &plan.planned[&output.name];
        let expected = open.contains(&output.name.as_str());
        ensure(is_unknown(value) == expected, Law::KnownAtCreate, || format!("{} is {value}", output.name))?;
        ensure(!value.is_null(), Law::KnownAtCreate, || format!("{} is null", output.name))?;
    }
    no_default_is_null("", attributes, &plan.planned)
}

fn no_default_is_null(prefix: &str, attributes: &[Attribute], planned: &Json) -> Kept {
    for attribute in attributes.iter().filter(|one| one.optional && one.computed) {
        let (path, value) = (join(prefix, &attribute.name), &planned[&attribute.name]);
        ensure(!value.is_null(), Law::KnownAtCreate, || format!("{path} has no default"))?;
        if let Shape::Nested(Nesting::Single, inner) = &attribute.shape {
            no_default_is_null(&path, inner, value)?;
        }
    }
    Ok(())
}

/// Planned inputs are those of a new cluster with the same configuration, or the prior state's spelling of them.
pub fn from_config(learned: &Learned, attributes: &[Attribute], values: [&Json; 3]) -> Kept {
    inputs_agree("", attributes, learned, values)
}

/// As a new cluster, as planned, and as before, in this order.
fn inputs_agree(prefix: &str, attributes: &[Attribute], learned: &Learned, values: [&Json; 3]) -> Kept {
    for attribute in attributes.iter().filter(|one| !one.is_output()) {
        let path = join(prefix, &attribute.name);
        let [new, planned, prior] = values.map(|value| &value[&attribute.name]);
        match (&attribute.shape, new, planned) {
            (Shape::Nested(Nesting::Single, inner), Json::Object(_), Json::Object(_)) => {
                inputs_agree(&path, inner, learned, [new, planned, prior])?;
            }
            _ => {
                let meaning = learned.leaves.get(&path).and_then(|pool| pool.meaning);
                let kept = planned == prior && same_meaning(meaning, new, prior);
                // Where both mean the same, the prior spelling is the one to keep.
                let respelled = planned == new && planned != prior && same_meaning(meaning, new, prior);
                ensure((planned == new && !respelled) || kept, Law::FromConfig, || {
                    format!("{path}: {planned} is planned; a new cluster has {new}, and it was {prior}")
                })?;
            }
        }
    }
    Ok(())
}

/// Laws of an update that is wholly known, and is one.
pub fn update(attributes: &[Attribute], prior: &Stored, plan: &Plan) -> Kept {
    let planned = &plan.planned;
    let touched = |one: &&Attribute| {
        !one.is_output()
            && !UNTOUCHING.contains(&one.name.as_str())
            && prior.state[&one.name] != planned[&one.name]
    };
    let was_done = prior.state["ready"] == true && prior.state["drift"] == json!([]);
    let upgrades = prior.state["agent_version"] != planned["agent_version"];
    let touches = attributes.iter().any(|one| touched(&one)) || !was_done || upgrades;
    let outputs = attributes.iter().filter(|one| one.is_output());
    if !touches {
        for output in outputs {
            let (was, is) = (&prior.state[&output.name], &planned[&output.name]);
            ensure(was == is, Law::OutputsKept, || format!("{}: {was} became {is}", output.name))?;
        }
        return private_kept(prior, plan);
    }
    for output in outputs {
        let value = &planned[&output.name];
        // A load balancer's address may change with the Service.
        let told = output.name == "agent_version" && has_an_image(planned);
        let open = is_unknown(value) && !output.name.ends_with("_host") && !told;
        ensure(!open && !value.is_null(), Law::OutputsKept, || format!("{} is {value}", output.name))?;
    }
    let identifier = "system_identifier";
    ensure(planned[identifier] == prior.state[identifier], Law::OutputsKept, || {
        "another identifier".to_owned()
    })?;
    ensure(planned["ready"] == true, Law::Ready, || format!("ready is {}", planned["ready"]))?;
    ensure(planned["drift"] == json!([]), Law::Repaired, || format!("drift is {}", planned["drift"]))?;
    story(prior, plan)?;
    private_kept(prior, plan)
}

/// What a change tells of itself.
fn story(prior: &Stored, plan: &Plan) -> Kept {
    let told = plan.planned["last_change"].as_str().unwrap_or_default();
    let open = told.is_empty() || told == UNKNOWN || told.starts_with("create:");
    ensure(!open, Law::Story, || format!("an update tells {told:?}"))?;
    let drifted = prior.state["drift"].as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in drifted {
        let object = entry["object"].as_str().unwrap_or_default();
        ensure(told.contains(object), Law::Story, || format!("{object} is not in {told:?}"))?;
    }
    let names = |name: &str| prior.state[name] != plan.planned[name];
    let expected =
        names("replicas").then_some("scale ").into_iter().chain(names("pg_hba").then_some("pg_hba"));
    for word in expected {
        ensure(told.contains(word), Law::Story, || format!("no {word:?} in {told:?}"))?;
    }
    let warned = messages(&plan.diagnostics).iter().any(|text| text.contains("interrupts connections"));
    let interrupts =
        ["rolling restart", "restart of PostgreSQL", "scale down"].iter().any(|word| told.contains(word));
    ensure(warned == interrupts, Law::Warned, || format!("warned: {warned}, and {told:?}"))
}

/// A plan keeps what the provider knows of the cluster.
pub fn private_kept(prior: &Stored, plan: &Plan) -> Kept {
    let read = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).unwrap_or_default();
    let (was, is) = (read(&prior.private), read(&plan.private));
    let lost = was.as_object().into_iter().flatten().find(|(key, value)| is.get(*key) != Some(*value));
    ensure(lost.is_none(), Law::PrivateKept, || format!("{was} became {is}"))
}

/// A state that came back as it was.
pub fn seen_unchanged(law: Law, before: &Stored, seen: &Seen) -> Kept {
    sound(&seen.diagnostics)?;
    accepted(&seen.violations)?;
    ensure(seen.stored.state == before.state, law, || difference(&before.state, &seen.stored.state))?;
    let identity = &seen.stored.identity;
    ensure(*identity == before.identity, law, || format!("{} became {identity}", before.identity))?;
    ensure(seen.stored.private == before.private, law, || "another private state".to_owned())
}
