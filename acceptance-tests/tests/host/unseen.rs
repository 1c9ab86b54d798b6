//! What credentials that lack rights may come to: nothing is guessed, what was not seen is said, and nothing is written blindly.

use pgha_acceptance_tests::host::{Action, Calls, Seen, Stored, Turn, has_errors};
use pgha_acceptance_tests::proto_client::kubernetes::Objects;
use pgha_acceptance_tests::proto_client::values::messages;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::Value as Json;

use crate::laws::{Kept, Law, accepted, answered, difference, ensure, sound};
use crate::live::LiveWorld;

/// What may be forbidden: kinds, by their plural names, and single objects.
const FORBIDDABLE: [&str; 15] = [
    "configmaps",
    "statefulsets",
    "leases",
    "services",
    "pods",
    "persistentvolumeclaims",
    "events",
    "roles",
    "rolebindings",
    "serviceaccounts",
    "poddisruptionbudgets",
    "networkpolicies",
    "orders-status",
    "orders-desired",
    "orders-anchor",
];

/// What is forbidden while somebody looks, mostly nothing.
pub fn forbidden() -> BoxedStrategy<Vec<&'static str>> {
    prop_oneof![1 => Just(Vec::new()), 2 => subsequence(FORBIDDABLE.to_vec(), 1..4)].boxed()
}

fn is_kind(name: &str) -> bool {
    !name.contains('-')
}

impl<C: Calls> LiveWorld<'_, C> {
    fn forbid(&self, what: &[&'static str]) {
        what.iter().filter(|one| is_kind(one)).for_each(|kind| self.api.forbid(kind));
        let objects: Vec<_> = what.iter().copied().filter(|one| !is_kind(one)).collect();
        self.api.gate(move |asked| {
            let hit = asked.method == "GET" && objects.iter().any(|name| asked.path.ends_with(name));
            hit.then(|| "403".parse().ok()).flatten()
        });
    }

    fn allow(&self) {
        self.api.allow_all();
        self.api.gate(|_| None);
    }

    /// Reads, plans and applies what `full` shows with less than the rights that it takes. `Some`: they sufficed for the apply.
    pub async fn with_less_rights(
        &self,
        stored: &Stored,
        full: &Seen,
        given: &Json,
        forbidden: &[&'static str],
    ) -> Kept<Option<Stored>> {
        if forbidden.is_empty() {
            return Ok(None);
        }
        self.forbid(forbidden);
        let came = self.limited(stored, full, given, forbidden).await;
        self.allow();
        came
    }

    async fn limited(
        &self,
        stored: &Stored,
        full: &Seen,
        given: &Json,
        forbidden: &[&'static str],
    ) -> Kept<Option<Stored>> {
        for prior in [stored, &full.stored] {
            self.api.forget_requests();
            let read = answered(self.world.core.read(prior)).await?;
            self.only_reads()?;
            told(prior, full, &read, forbidden)?;
            if has_errors(&read.diagnostics) {
                return Ok(None);
            }
        }
        let (_, plan) = self.world.turned(Turn::of(stored, given)).await?;
        ensure(!plan.is_refused(), Law::Plans, || messages(&plan.diagnostics).join("\n"))?;
        if plan.action == Action::NoOp {
            return Ok(None);
        }
        let before = self.objects();
        let applied = self.try_apply(&plan).await?;
        if !has_errors(&applied.diagnostics) {
            return Ok(Some(applied.stored));
        }
        let now = self.objects();
        let changed = now.iter().find(|(path, object)| before.get(*path) != Some(*object));
        ensure(changed.is_none() && now.len() == before.len(), Law::WritesBlind, || {
            format!("{changed:?} was written, although {forbidden:?} may not be read")
        })?;
        names(&applied.diagnostics, forbidden)?;
        let kept = &applied.stored.state;
        ensure(*kept == plan.prior.state, Law::HalfDone, || difference(&plan.prior.state, kept))?;
        Ok(None)
    }

    fn objects(&self) -> Objects {
        let mut all = Objects::new();
        self.api.edit(|objects| all.clone_from(objects));
        all
    }
}

/// Everything in the state is what whoever may see all sees, or what was known before; and where the two differ, it is said what could
/// not be seen.
fn told(prior: &Stored, full: &Seen, read: &Seen, forbidden: &[&str]) -> Kept {
    sound(&read.diagnostics)?;
    accepted(&read.violations)?;
    let [was, all, seen] = [&prior.state, &full.stored.state, &read.stored.state];
    if has_errors(&read.diagnostics) {
        ensure(seen == was, Law::Unseen, || difference(was, seen))?;
        return names(&read.diagnostics, forbidden);
    }
    let list = |state: &Json| state["drift"].as_array().cloned().unwrap_or_default();
    let (known, found) = (list(was), list(all));
    for (name, value) in seen.as_object().into_iter().flatten() {
        let entries = list(seen);
        let invented = entries.iter().find(|entry| !known.contains(entry) && !found.contains(entry));
        let right =
            if name == "drift" { invented.is_none() } else { *value == all[name] || *value == was[name] };
        ensure(right, Law::Unseen, || {
            format!("without {forbidden:?} {name} is {value}; it was {} and is {}", was[name], all[name])
        })?;
    }
    ensure(seen.is_object(), Law::Unseen, || format!("without {forbidden:?} there is {seen}"))?;
    if seen == all { Ok(()) } else { names(&read.diagnostics, forbidden) }
}

/// Somebody hears of what may not be looked at.
fn names(
    diagnostics: &[pgha_acceptance_tests::proto_client::pb::tfplugin6::Diagnostic],
    forbidden: &[&str],
) -> Kept {
    let told = messages(diagnostics).join("\n");
    ensure(forbidden.iter().any(|one| told.contains(one)), Law::Unseen, || {
        format!("{forbidden:?} can't be read, and all that is told is {told:?}")
    })
}
