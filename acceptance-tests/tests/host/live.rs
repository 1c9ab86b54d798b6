//! Whole lives with applies, against an API server that takes every write and agents that do as they are told, or don't:
//! create, refresh, import, drift, repair, change, half-done work, destroy.

use pgha_acceptance_tests::host::schema::{Attribute, is_wholly_known};
use pgha_acceptance_tests::host::{Action, Applied, Calls, Plan, Stored, Turn, has_errors};
use pgha_acceptance_tests::proto_client::agents::{Agents, Mood, fail_over};
use pgha_acceptance_tests::proto_client::kubernetes::{FakeApi, Objects};
use pgha_acceptance_tests::proto_client::values::messages;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};

use crate::generate::config;
use crate::laws::{
    Kept, Law, REPLACING, World, accepted, answered, difference, ensure, seen_unchanged, sound,
};
use crate::learn::Learned;

/// How long half-done work is waited for.
const PATIENCE: &str = "6s";
const ID: &str = "shop/orders";
const SET: &str = "/apis/apps/v1/namespaces/shop/statefulsets/orders";
pub const RW: &str = "/api/v1/namespaces/shop/services/orders-rw";
const RO: &str = "/api/v1/namespaces/shop/services/orders-ro";
const DESIRED: &str = "/api/v1/namespaces/shop/configmaps/orders-desired";
const ROOT: &str = "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt";

/// A life.
#[derive(Debug, Clone)]
pub struct LiveCase {
    before: Json,
    after: Json,
    edits: Vec<Edit>,
    /// Once with agents that do only half of their work: it costs a second of waiting.
    half_done: bool,
}

/// What happens to a live cluster without us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// Somebody scales the StatefulSet.
    Scale(u32),
    /// Somebody scales it to nothing.
    ScaleToNothing,
    /// Somebody lets the rw Service lead elsewhere.
    Selector,
    /// Somebody deletes the ro Service.
    Delete,
    /// Somebody changes the mode in the desired document.
    Mode(&'static str),
    /// The primary is lost and another one leads.
    FailOver(u32),
    /// A webhook or a person adds what we don't own.
    Foreign,
}

/// Lives of one cluster, `shop/orders`.
pub fn lives(attributes: &[Attribute], learned: &Learned, half_done: f64) -> BoxedStrategy<LiveCase> {
    let edit = prop_oneof![
        (0..8_u32).prop_map(Edit::Scale),
        Just(Edit::ScaleToNothing),
        Just(Edit::Selector),
        Just(Edit::Delete),
        select(vec!["sync", "async", "quorum"]).prop_map(Edit::Mode),
        (1..3_u32).prop_map(Edit::FailOver),
        Just(Edit::Foreign),
    ];
    let here = |mut config: Json| {
        (config["name"], config["namespace"]) = (json!("orders"), json!("shop"));
        config["deletion_protection"] = json!(true);
        config["timeouts"] = Json::Null;
        config
    };
    let (one, other) = (config(attributes, learned), config(attributes, learned));
    (
        one.prop_map(here),
        other.prop_map(here),
        prop::collection::vec(edit, 1..3),
        prop::bool::weighted(half_done),
    )
        .prop_map(|(mut before, mut after, edits, half_done)| {
            // A wait that ends nowhere must end soon, and a busy machine must get so far.
            if half_done {
                before["timeouts"] = json!({ "create": PATIENCE, "update": PATIENCE });
                after["timeouts"] = before["timeouts"].clone();
            }
            for kept in REPLACING.iter().chain(&["storage", "postgres_version", "image"]) {
                after[*kept] = before[*kept].clone();
            }
            LiveCase { before, after, edits, half_done }
        })
        .boxed()
}

/// A world with an API server and agents.
pub struct LiveWorld<'a, C> {
    pub world: World<'a, C>,
    pub api: &'a FakeApi,
    pub agents: &'a Agents,
}

impl<C: Calls> LiveWorld<'_, C> {
    /// Runs a life. `false`: its configuration is invalid.
    pub async fn run(&self, case: &LiveCase) -> Kept<bool> {
        if !self.world.validated(&case.before).await? || !self.world.validated(&case.after).await? {
            return Ok(false);
        }
        self.api.edit(|objects| {
            objects.clear();
            let root =
                json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": { "ca.crt": "a certificate" } });
            objects.insert(ROOT.to_owned(), root);
        });
        self.agents.set(Mood::Obey);
        let mut stored = if case.half_done {
            self.half_made(&case.before).await?
        } else {
            self.applied(&Stored::nothing(), &case.before).await?
        };
        self.at_rest(&stored, &case.before).await?;
        self.taken(&case.before).await?;
        self.imported(&stored, &case.before).await?;
        for edit in &case.edits {
            stored = self.edited(stored, &case.before, *edit).await?;
        }
        stored = self.changed(stored, case).await?;
        self.away_is_not_gone(&stored).await?;
        self.ended(stored, &case.after).await?;
        Ok(true)
    }

    /// Plan and apply; nothing may be refused.
    async fn applied(&self, prior: &Stored, given: &Json) -> Kept<Stored> {
        let plan = self.world.agreed(prior, given).await?;
        if plan.action == Action::NoOp {
            return Ok(plan.prior);
        }
        let applied = self.try_apply(&plan).await?;
        ensure(!has_errors(&applied.diagnostics), Law::Applies, || {
            messages(&applied.diagnostics).join("\n")
        })?;
        let ready = &applied.stored.state["ready"];
        ensure(*ready == true, Law::Applies, || format!("ready is {ready} after an apply that succeeded"))?;
        self.budgeted(&applied.stored.state)?;
        Ok(applied.stored)
    }

    pub async fn try_apply(&self, plan: &Plan) -> Kept<Applied> {
        let applied = answered(self.world.core.apply(plan, &plan.config)).await?;
        sound(&applied.diagnostics)?;
        accepted(&applied.violations)?;
        Ok(applied)
    }

    /// P12: right after an apply nothing has drifted, whatever an API server adds, and nothing is to be done.
    async fn at_rest(&self, stored: &Stored, given: &Json) -> Kept {
        self.api.forget_requests();
        let read = answered(self.world.core.read(stored)).await?;
        seen_unchanged(Law::AtRest, stored, &read)?;
        self.reads_little()?;
        self.world.nothing_to_do(Law::NothingToDo, Turn::of(stored, given)).await
    }

    /// P16: what exists already is not taken over by a create.
    async fn taken(&self, given: &Json) -> Kept {
        let plan = self.world.agreed(&Stored::nothing(), given).await?;
        let again = self.try_apply(&plan).await?;
        let refused = has_errors(&again.diagnostics) && again.stored.state.is_null();
        let told = messages(&again.diagnostics).join("\n");
        ensure(refused && told.contains("terraform import"), Law::Owned, || told.clone())
    }

    /// P22: an import knows everything but the timeouts.
    async fn imported(&self, stored: &Stored, given: &Json) -> Kept {
        let seen = answered(self.world.core.import(ID)).await?;
        let mut without = stored.clone();
        without.state["timeouts"] = Json::Null;
        // The story of the last change is none of what is remembered.
        without.state["last_change"] = seen.stored.state["last_change"].clone();
        seen_unchanged(Law::ComesBack, &without, &seen)?;
        let mut given = given.clone();
        given["timeouts"] = Json::Null;
        let plan = self.world.agreed(&seen.stored, &given).await?;
        ensure(plan.action == Action::NoOp, Law::ComesBack, || difference(&seen.stored.state, &plan.planned))
    }

    /// P12, P13: what was changed from outside shows, each in one place, and is repaired in place.
    async fn edited(&self, stored: Stored, given: &Json, edit: Edit) -> Kept<Stored> {
        let was = &stored.state;
        let moves = match edit {
            Edit::Scale(replicas) => was["replicas"] != replicas,
            Edit::Mode(mode) => was["sync_mode"] != mode,
            Edit::ScaleToNothing | Edit::Selector | Edit::Delete => true,
            Edit::FailOver(_) | Edit::Foreign => false,
        };
        self.api.edit(|objects| edit.happens(objects, was));
        let read = answered(self.world.core.read(&stored)).await?;
        sound(&read.diagnostics)?;
        accepted(&read.violations)?;
        if !moves {
            seen_unchanged(Law::AtRest, &stored, &read)?;
            self.world.nothing_to_do(Law::NothingToDo, Turn::of(&stored, given)).await?;
            return Ok(stored);
        }
        let seen = &read.stored.state;
        let entries = seen["drift"].as_array().map_or(0, Vec::len);
        let (attribute, expected) = match edit {
            Edit::Scale(replicas) => (Some(("replicas", json!(replicas))), 0),
            Edit::Mode(mode) => (Some(("sync_mode", json!(mode))), 0),
            _ => (None, 1),
        };
        ensure(entries == expected, Law::Shown, || format!("{edit:?} is shown as {}", seen["drift"]))?;
        if let Some((name, value)) = attribute {
            ensure(seen[name] == value, Law::Shown, || {
                format!("{edit:?} is shown as {name} = {}", seen[name])
            })?;
        }
        let plan = self.world.agreed(&read.stored, given).await?;
        ensure(plan.action == Action::Update, Law::Repaired, || {
            format!("{edit:?} is answered by {:?}", plan.action)
        })?;
        let repaired = self.applied(&read.stored, given).await?;
        self.at_rest(&repaired, given).await?;
        Ok(repaired)
    }

    /// Another configuration; and P10: what a dry run says is never more than a warning.
    async fn changed(&self, stored: Stored, case: &LiveCase) -> Kept<Stored> {
        self.api.refuse_dry_runs(true);
        let warned = self.world.agreed(&stored, &case.after).await;
        self.api.refuse_dry_runs(false);
        let warned = warned.map_err(|broken| crate::laws::Broken { law: Law::DryRun, ..broken })?;
        if warned.action == Action::NoOp {
            return Ok(stored);
        }
        let told = messages(&warned.diagnostics).iter().any(|text| text.contains("would refuse"));
        ensure(told || !is_wholly_known(&warned.planned), Law::DryRun, || {
            "nobody heard of the dry run".to_owned()
        })?;
        self.contested(&stored, &warned).await?;
        let secrets = self.secrets();
        let before = stored.clone();
        let stored = if case.half_done { self.half_changed(stored, &case.after).await? } else { stored };
        let changed = self.applied(&stored, &case.after).await?;
        self.same_secrets(&secrets, &before.state, &changed.state)?;
        self.at_rest(&changed, &case.after).await?;
        Ok(changed)
    }

    /// P19: a create whose primary serves is kept, with a warning; the next apply goes on.
    async fn half_made(&self, given: &Json) -> Kept<Stored> {
        self.agents.set(Mood::Serve);
        let plan = self.world.agreed(&Stored::nothing(), given).await?;
        let half = self.try_apply(&plan).await;
        self.agents.set(Mood::Obey);
        let half = half?;
        let kept = !has_errors(&half.diagnostics) && !half.diagnostics.is_empty();
        ensure(kept, Law::HalfDone, || messages(&half.diagnostics).join("\n"))?;
        let ready = &half.stored.state["ready"];
        ensure(*ready == false, Law::HalfDone, || format!("ready is {ready} of a half-made cluster"))?;
        let read = answered(self.world.core.read(&half.stored)).await?;
        let ready = &read.stored.state["ready"];
        ensure(*ready == false, Law::Ready, || format!("ready is {ready} of a half-made cluster"))?;
        self.applied(&half.stored, given).await
    }

    /// P19: an update that is not in force leaves the prior values, and P8: nothing calls it ready.
    async fn half_changed(&self, stored: Stored, given: &Json) -> Kept<Stored> {
        let plan = self.world.agreed(&stored, given).await?;
        self.agents.set(Mood::Serve);
        let half = self.try_apply(&plan).await;
        self.agents.set(Mood::Obey);
        let half = half?;
        if !has_errors(&half.diagnostics) {
            // Only what touches no cluster needs nobody.
            ensure(plan.planned["last_change"] == stored.state["last_change"], Law::HalfDone, || {
                "a change that nobody carried out succeeded".to_owned()
            })?;
            return Ok(half.stored);
        }
        let mut expected = stored.state.clone();
        expected["ready"] = json!(false);
        ensure(half.stored.state == expected, Law::HalfDone, || difference(&expected, &half.stored.state))?;
        let read = answered(self.world.core.read(&half.stored)).await?;
        let ready = &read.stored.state["ready"];
        ensure(*ready == false, Law::Ready, || format!("ready is {ready} of a half-changed cluster"))?;
        Ok(read.stored)
    }

    /// P15: what answers 404 is gone only where it is proven that this is the right cluster.
    async fn away_is_not_gone(&self, stored: &Stored) -> Kept {
        let mut all = Objects::new();
        self.api.edit(|objects| all = std::mem::take(objects));
        let read = answered(self.world.core.read(stored)).await?;
        self.api.edit(|objects| *objects = all);
        let kept = has_errors(&read.diagnostics) && read.stored == *stored;
        ensure(kept, Law::Gone, || format!("without proof: {:?}", messages(&read.diagnostics)))
    }

    /// P20: protected, it is not destroyed, not even by a host that never showed a plan; unprotected it goes, and then it is gone.
    async fn ended(&self, stored: Stored, given: &Json) -> Kept {
        let tainted = self.try_apply(&Plan::unasked_destroy(&stored)).await?;
        let refused = has_errors(&tainted.diagnostics) && tainted.stored.state == stored.state;
        ensure(refused, Law::Protected, || "a protected cluster was destroyed in an apply".to_owned())?;
        let mut given = given.clone();
        given["deletion_protection"] = json!(false);
        let unprotected = self.applied(&stored, &given).await?;
        self.at_rest(&unprotected, &given).await?;
        self.give_volumes();
        let plan = self.world.agreed(&unprotected, &Json::Null).await?;
        let ended = self.try_apply(&plan).await?;
        let gone = !has_errors(&ended.diagnostics) && ended.stored.state.is_null();
        ensure(gone, Law::Applies, || messages(&ended.diagnostics).join("\n"))?;
        self.volumes_after_the_end(&unprotected.state)?;
        let read = answered(self.world.core.read(&unprotected)).await?;
        let told = || format!("after a destroy: {:?}", messages(&read.diagnostics));
        ensure(read.stored.state.is_null() && !has_errors(&read.diagnostics), Law::Gone, told)
    }
}

impl Edit {
    fn happens(self, objects: &mut Objects, state: &Json) {
        match self {
            Self::Scale(replicas) => set(objects, SET, "/spec/replicas", json!(replicas + 1)),
            Self::ScaleToNothing => set(objects, SET, "/spec/replicas", json!(0)),
            Self::Selector => set(objects, RW, "/spec/selector/role", json!("replica")),
            Self::Delete => drop(objects.remove(RO)),
            Self::Mode(mode) => {
                let text = objects[DESIRED]["data"]["desired.json"].as_str().unwrap_or_default().to_owned();
                let mut document: Json = serde_json::from_str(&text).unwrap_or_default();
                // The same document in other letters is an edit by hand too, and shows (P8).
                if document["sync_mode"] == mode {
                    return;
                }
                document["sync_mode"] = json!(mode);
                let text = serde_json::to_string(&document).unwrap_or_default();
                set(objects, DESIRED, "/data/desired.json", json!(text));
            }
            Self::FailOver(ordinal) => {
                let standbys = state["replicas"].as_u64().unwrap_or(0) as u32;
                fail_over(objects, "orders", ordinal.min(standbys));
            }
            Self::Foreign => {
                if let Some(set) = objects.get_mut(SET) {
                    set["metadata"]["annotations"]["example.com/seen"] = json!("yes");
                }
            }
        }
    }
}

fn set(objects: &mut Objects, path: &str, pointer: &str, value: Json) {
    if let Some(slot) = objects.get_mut(path).and_then(|object| object.pointer_mut(pointer)) {
        *slot = value;
    }
}
