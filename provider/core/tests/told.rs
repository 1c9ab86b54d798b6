//! What plans tell of the running database and of its data: all of it, once, and nothing that does not happen.
#![allow(missing_docs, clippy::panic)]

mod common;

use common::{config, state};
use pgha_provider_core::facts::Facts;
use pgha_provider_core::plan::{Plan, Request, kept_volumes_go, plan};
use pgha_provider_core::value::Value;
use serde_json::{Value as Json, json};

fn made(config: &Value, prior: &Value) -> Plan {
    plan(&Request { config, prior, facts: &Facts::default(), agent_version: "0.1.0" })
}

/// The minimal configuration with this.
fn with(edits: &[(&str, Json)]) -> Json {
    let mut json = common::minimal();
    for (pointer, value) in edits {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = json.pointer_mut(parent).expect("a parent");
        parent[name] = value.clone();
    }
    json
}

fn told(before: &Json, after: &Json) -> String {
    let plan = made(&config(after), &state(before));
    let text = plan.planned.get("last_change").as_str().expect("a known last_change").to_owned();
    assert!(plan.diagnostics.to_string().contains(&text), "{}", plan.diagnostics);
    text
}

/// One message, without an error.
fn warning(plan: &Plan) -> String {
    let all: Vec<_> = plan.diagnostics.iter().collect();
    assert!(all.len() == 1 && !all[0].is_error(), "{}", plan.diagnostics);
    all[0].to_string()
}

fn drifted(entries: &[(&str, &str, &str)], prior: &Json) -> Value {
    let entry = |(object, field, diff): &(&str, &str, &str)| {
        Value::object([
            ("object", (*object).into()),
            ("field", (*field).into()),
            ("diff", (*diff).into()),
            ("changed_by", Value::Null),
            ("changed_at", Value::Null),
        ])
    };
    let mut state = state(prior);
    state.set_at("drift", Value::List(entries.iter().map(entry).collect()));
    state
}

/// As the agents do it: a pod that is made anew has every setting, and who lowers a limit waits for the primary.
#[test]
fn a_restart_is_told_once_however_many_reasons_it_has() {
    let settings = |parameters: Json| with(&[("/parameters", parameters)]);
    let image = ("/image", json!("registry.example.com/own:18"));
    let both = with(&[image.clone(), ("/parameters", json!({"shared_buffers": "1GB"}))]);
    assert_eq!(
        told(&common::minimal(), &both),
        "rolling restart (all 3 instances: standbys one by one, a switchover, the old primary last; writes pause for about a second): \
         image, parameters.shared_buffers"
    );
    // A standby starts with what its primary has, so the lower limit comes after the roll.
    let lower = with(&[image, ("/parameters", json!({"max_connections": "50"}))]);
    let text = told(&common::minimal(), &lower);
    let (roll, restart) = text.split_once(": image; ").expect("two sentences");
    assert!(roll.starts_with("rolling restart ("), "{text}");
    assert!(
        restart.contains("the primary first") && restart.ends_with(": parameters.max_connections"),
        "{text}"
    );

    let text = told(&common::minimal(), &settings(json!({"max_connections": "50", "shared_buffers": "1GB"})));
    assert_eq!(text.matches("restart of PostgreSQL").count(), 1, "{text}");
    assert!(text.contains("standbys one by one, the primary, and the standbys once more"), "{text}");
    assert!(text.ends_with(": parameters.shared_buffers, parameters.max_connections"), "{text}");

    let alone = |mut json: Json| {
        json["replicas"] = json!(0);
        json
    };
    let text = told(&alone(common::minimal()), &alone(lower));
    assert_eq!(text.matches("restart").count(), 1, "{text}");
    assert!(text.contains("the only instance: no reads or writes until it is back"), "{text}");

    let altered = drifted(&[("PostgreSQL/orders-0", "wal_buffers", "")], &common::minimal());
    let plan = made(&config(&both), &altered);
    let text = plan.planned.get("last_change").as_str().expect("a text");
    assert!(text.contains("parameters.shared_buffers, wal_buffers (given by ALTER SYSTEM);"), "{text}");
    assert_eq!(text.matches("restart").count(), 1, "{text}");
}

#[test]
fn what_is_left_to_others_from_now_on_is_not_taken_back() {
    let entries = [
        ("PostgreSQL/orders-0", "shared_buffers", ""),
        ("Service/orders-rw", "metadata.annotations.lb/id", ""),
        ("Service/orders-rw", "spec.selector", ""),
    ];
    let prior = drifted(&entries, &common::minimal());
    let ignore = json!(["parameters.shared_*", "services.rw.annotations.lb/*"]);
    let plan = made(&config(&with(&[("/ignore", ignore)])), &prior);
    assert_eq!(
        plan.planned.get("last_change"),
        &Value::from("online, no restart: ignore; repair of drift: Service/orders-rw spec.selector")
    );
    let plan = made(&config(&common::minimal()), &prior);
    assert!(
        plan.diagnostics.to_string().contains("This change interrupts connections"),
        "{}",
        plan.diagnostics
    );
}

#[test]
fn pods_that_were_made_from_an_edited_template_are_made_anew() {
    let hash = "spec.template.metadata.annotations.pgha/template-hash";
    let plan = made(
        &config(&common::minimal()),
        &drifted(&[("StatefulSet/orders", hash, "-a\n+b\n")], &common::minimal()),
    );
    let told = warning(&plan);
    assert!(
        told.contains("This change interrupts connections: rolling restart of instances whose pods"),
        "{told}"
    );
}

#[test]
fn what_is_known_of_a_change_is_told_while_the_rest_is_not() {
    let mut unknown = config(&with(&[("/image", json!("registry.example.com/own:18"))]));
    unknown.set_at("storage.size", Value::Unknown);
    let plan = made(&unknown, &state(&common::minimal()));
    assert!(plan.planned.get("last_change").is_unknown());
    let text = warning(&plan);
    assert!(
        text.starts_with("warning: This change interrupts connections: at least: rolling restart ("),
        "{text}"
    );
    assert!(text.ends_with(": image; more once storage.size is known"), "{text}");

    let mut settings = config(&with(&[("/sync_mode", json!("async"))]));
    let values = [("work_mem", "8MB".into()), ("a.b", Value::Unknown), ("c.d", Value::Unknown)];
    settings.set_at("parameters", Value::Map(values.map(|(name, value)| (name.to_owned(), value)).into()));
    let text = warning(&made(&settings, &state(&common::minimal())));
    assert_eq!(
        text,
        "warning: Not all that this change does is known yet: at least: online, no restart: sync_mode; reload: parameters.work_mem; \
         more once these are known: parameters.a.b, parameters.c.d"
    );

    // Where the number of instances is not known, it is told of those that are there.
    let mut replicas = config(&with(&[("/parameters", json!({"shared_buffers": "1GB"}))]));
    replicas.set_at("replicas", Value::Unknown);
    let text = warning(&made(&replicas, &state(&common::minimal())));
    assert!(text.contains("in all 3 instances") && text.ends_with("more once replicas is known"), "{text}");

    let mut all = config(&common::minimal());
    all.set_at("sync_mode", Value::Unknown);
    assert!(made(&all, &state(&common::minimal())).diagnostics.is_empty());
}

/// Unprotected, and with these volumes.
fn unprotected(retain: bool) -> Json {
    with(&[("/deletion_protection", json!(false)), ("/storage/retain", json!(retain))])
}

#[test]
fn a_destroy_tells_what_becomes_of_the_data() {
    let kept = warning(&made(&Value::Null, &state(&unprotected(true))));
    assert!(kept.contains("The data of cluster shop/orders stays in its volumes"), "{kept}");
    let gone = warning(&made(&Value::Null, &state(&unprotected(false))));
    assert!(gone.contains("All data of cluster shop/orders is deleted with it"), "{gone}");
    let mut empty = state(&unprotected(false));
    empty.set_at("system_identifier", Value::Null);
    assert!(made(&Value::Null, &empty).diagnostics.is_empty(), "there is no data");
    let refused = made(&Value::Null, &state(&common::minimal()));
    assert_eq!(
        refused.diagnostics.iter().filter(|one| !one.is_error()).count(),
        0,
        "{}",
        refused.diagnostics
    );
}

#[test]
fn a_replacement_tells_what_becomes_of_the_data() {
    let replaced = |retain: bool, name: &str| {
        let mut json = unprotected(retain);
        let prior = state(&json);
        json["name"] = json!(name);
        json["bootstrap"] = json!({"database": "other"});
        made(&config(&json), &prior)
    };
    let moved = warning(&replaced(true, "other"));
    assert!(moved.contains("A change of bootstrap.database, name can't be made in place"), "{moved}");
    assert!(moved.contains("a cluster that is made again as shop/orders goes on from them"), "{moved}");
    let gone = warning(&replaced(false, "orders"));
    assert!(gone.contains("all its data is deleted with its volumes"), "{gone}");
}

/// Kept volumes would be resumed, and `bootstrap` looked at by nobody.
#[test]
fn another_bootstrap_over_kept_volumes_is_refused() {
    let prior = state(&unprotected(true));
    for value in [Value::from("other"), Value::Unknown] {
        for name in ["database", "owner", "encoding", "locale"] {
            let mut config = config(&unprotected(true));
            config.set_at("bootstrap", prior.get("bootstrap").clone());
            config.set_at(&format!("bootstrap.{name}"), value.clone());
            let plan = made(&config, &prior);
            let told = plan.diagnostics.to_string();
            assert!(
                told.starts_with(&format!("error: bootstrap.{name}: Kept volumes would bring")),
                "{told}"
            );
            assert!(
                told.contains("set storage.retain = false, apply that") && told.contains("another name"),
                "{told}"
            );
            assert_eq!(told.contains("not known yet"), value.is_unknown(), "{told}");
        }
    }
    // The state rules, since it says what the destroy does.
    let mut json = unprotected(false);
    json["bootstrap"] = json!({"owner": "other"});
    assert!(made(&config(&json), &prior).diagnostics.has_errors());
    let mut empty = prior;
    empty.set_at("system_identifier", Value::Null);
    assert!(!made(&config(&json), &empty).diagnostics.has_errors(), "nothing is there that could come back");
}

#[test]
fn volumes_of_earlier_scale_downs_are_told_of_when_they_go() {
    let (kept, dropped) = (state(&unprotected(true)), state(&unprotected(false)));
    let change = made(&config(&unprotected(false)), &kept).planned;
    let claims = ["data-orders-3".to_owned(), "data-orders-4".to_owned()];
    let told = kept_volumes_go(&kept, &change, Some(&claims)).expect("a warning").to_string();
    assert!(
        told.starts_with("warning: storage.retain: ") && told.contains("data-orders-3, data-orders-4"),
        "{told}"
    );
    assert_eq!(kept_volumes_go(&kept, &change, Some(&[])), None);
    let told = kept_volumes_go(&kept, &change, None).expect("a warning").to_string();
    assert!(told.contains("Whether there are any is not known"), "{told}");

    // What an apply that was cut off has left goes with the next change, but with none that touches no cluster.
    let mut json = unprotected(false);
    json["timeouts"] = json!({"create": "20m"});
    let untouched = made(&config(&json), &dropped).planned;
    assert_eq!(kept_volumes_go(&dropped, &untouched, Some(&claims)), None);
    json["sync_mode"] = json!("async");
    let touched = made(&config(&json), &dropped).planned;
    assert!(kept_volumes_go(&dropped, &touched, Some(&claims)).is_some());
    assert_eq!(kept_volumes_go(&dropped, &touched, None), None);
    assert_eq!(kept_volumes_go(&Value::Null, &change, Some(&claims)), None);
}
