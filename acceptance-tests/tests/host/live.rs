//! Whole lives with applies, against an API server that takes every write and agents that do as they are told, or don't:
//! create, refresh, import, drift, repair, change, half-done work, destroy.

use pgha_acceptance_tests::host::schema::{Attribute, is_wholly_known};
use pgha_acceptance_tests::host::{Action, Applied, Calls, Plan, Stored, Turn, has_errors};
use pgha_acceptance_tests::proto_client::agents::{Agents, Mood};
use pgha_acceptance_tests::proto_client::kubernetes::{FakeApi, Objects};
use pgha_acceptance_tests::proto_client::values::messages;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::edit::{Edit, Hand, Shown, edits, heard_again, silence};
use crate::generate::config;
use crate::laws::{
    Kept, Law, REPLACING, World, accepted, answered, difference, ensure, seen_unchanged, sound, update,
};
use crate::learn::Learned;
use crate::unseen::forbidden;

/// How long half-done work is waited for.
const PATIENCE: &str = "6s";
const ID: &str = "shop/orders";
pub const RW: &str = "/api/v1/namespaces/shop/services/orders-rw";
const ROOT: &str = "/api/v1/namespaces/shop/configmaps/kube-root-ca.crt";

/// A life.
#[derive(Debug, Clone)]
pub struct LiveCase {
    before: Json,
    after: Json,
    /// Each with what may not be read while somebody looks.
    edits: Vec<(Edit, Vec<&'static str>)>,
    /// Once with agents that do only half of their work: it costs a second of waiting.
    half_done: bool,
}

/// Lives of one cluster, `shop/orders`.
pub fn lives(attributes: &[Attribute], learned: &Learned, half_done: f64) -> BoxedStrategy<LiveCase> {
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
        prop::collection::vec((edits(), forbidden()), 1..4),
        prop::bool::weighted(half_done),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(mut before, mut after, edits, half_done, single)| {
            if single {
                before["replicas"] = json!(0);
                for name in ["durability", "sync_mode", "sync_replicas"] {
                    before[name] = Json::Null;
                }
            }
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

/// An API server with nothing but what every namespace holds.
pub fn begin(api: &FakeApi) {
    api.edit(|objects| {
        objects.clear();
        let root =
            json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": { "ca.crt": "a certificate" } });
        objects.insert(ROOT.to_owned(), root);
    });
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
        begin(self.api);
        self.agents.set(Mood::Obey);
        let mut stored = if case.half_done {
            self.half_made(&case.before).await?
        } else {
            self.applied(&Stored::nothing(), &case.before).await?
        };
        self.at_rest(&stored, &case.before).await?;
        self.taken(&case.before).await?;
        self.imported(&stored, &case.before).await?;
        for (edit, forbidden) in &case.edits {
            stored = self.edited(stored, &case.before, *edit, forbidden).await?;
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
    async fn edited(
        &self,
        stored: Stored,
        given: &Json,
        edit: Edit,
        forbidden: &[&'static str],
    ) -> Kept<Stored> {
        let mut shown = Shown::Nowhere;
        self.api.edit(|objects| shown = edit.happens(objects, &stored.state));
        let read = answered(self.world.core.read(&stored)).await?;
        sound(&read.diagnostics)?;
        accepted(&read.violations)?;
        ensure(!has_errors(&read.diagnostics), Law::Shown, || messages(&read.diagnostics).join("\n"))?;
        if shown == Shown::Nowhere {
            seen_unchanged(Law::AtRest, &stored, &read)?;
            self.with_less_rights(&stored, &read, given, forbidden).await?;
            self.world.nothing_to_do(Law::NothingToDo, Turn::of(&stored, given)).await?;
            return Ok(stored);
        }
        shows(edit, &shown, &read.stored.state)?;
        if let Some(repaired) = self.with_less_rights(&stored, &read, given, forbidden).await? {
            self.at_rest(&repaired, given).await?;
            return Ok(repaired);
        }
        match edit {
            Edit::Alter(_, _) => self.down_is_not_undone(&read.stored).await?,
            Edit::SmallVolume | Edit::GrowingVolume => self.stuck(&read.stored, given).await?,
            _ => {}
        }
        let plan = self.world.agreed(&read.stored, given).await?;
        ensure(plan.action == Action::Update, Law::Repaired, || {
            format!("{edit:?} is answered by {:?}", plan.action)
        })?;
        update(&self.world.core.attributes, &read.stored, &plan)?;
        let repaired = self.applied(&read.stored, given).await?;
        self.at_rest(&repaired, given).await?;
        Ok(repaired)
    }

    /// P1: a PostgreSQL that can't be asked has not forgotten what was set in it.
    async fn down_is_not_undone(&self, stored: &Stored) -> Kept {
        let mut before = Json::Null;
        self.api.edit(|objects| before = silence(objects));
        let read = answered(self.world.core.read(stored)).await?;
        self.api.edit(|objects| heard_again(objects, before));
        seen_unchanged(Law::Shown, stored, &read)
    }

    /// P18, P19: an apply whose volumes don't grow fails, names the volume, and is not followed by a plan in which nothing is to be
    /// done.
    async fn stuck(&self, stored: &Stored, given: &Json) -> Kept {
        let plan = self.world.agreed(stored, given).await?;
        self.agents.grow(false);
        let failed = self.try_apply(&plan).await;
        self.agents.grow(true);
        let failed = failed?;
        let told = messages(&failed.diagnostics).join("\n");
        ensure(has_errors(&failed.diagnostics) && told.contains("data-orders-0"), Law::HalfDone, || {
            format!("of a volume that does not grow is told: {told:?}")
        })?;
        let mut expected = plan.prior.state.clone();
        expected["ready"] = json!(false);
        ensure(failed.stored.state == expected, Law::HalfDone, || {
            difference(&expected, &failed.stored.state)
        })?;
        let read = answered(self.world.core.read(&failed.stored)).await?;
        shows(
            Edit::GrowingVolume,
            &Shown::Entries(vec![format!("PersistentVolumeClaim/data-orders-0")]),
            &read.stored.state,
        )?;
        let next = self.world.agreed(&read.stored, given).await?;
        ensure(next.action == Action::Update, Law::Repaired, || {
            format!("a volume that did not grow is answered by {:?}", next.action)
        })
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

/// P8, P13: an edit shows in one place.
fn shows(edit: Edit, shown: &Shown, seen: &Json) -> Kept {
    let entries: Vec<&str> =
        seen["drift"].as_array().into_iter().flatten().filter_map(|one| one["object"].as_str()).collect();
    let expected: &[String] = match shown {
        Shown::Entries(objects) => objects,
        Shown::Nowhere | Shown::Attribute(_, _) | Shown::Unready => &[],
    };
    ensure(entries == expected, Law::Shown, || format!("{edit:?} is shown as {}", seen["drift"]))?;
    if let Shown::Attribute(name, value) = shown {
        ensure(seen[name] == *value, Law::Shown, || format!("{edit:?} is shown as {name} = {}", seen[name]))?;
    }
    // Nobody has acknowledged a document that was edited by hand, unless it says that it is one of before.
    let acknowledged = seen["ready"] == true;
    let edited = matches!(edit, Edit::Document(hand) if hand != Hand::Member("generation", "0"));
    ensure(!(edited && acknowledged), Law::Ready, || format!("{edit:?}, and ready is {}", seen["ready"]))?;
    let secret = "hunter2";
    ensure(!seen.to_string().contains(secret), Law::Shown, || {
        format!("{edit:?} shows a secret: {}", seen["drift"])
    })
}
