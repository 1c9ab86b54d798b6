//! Plans: what is known, what changes, what is refused, and what it says.
#![allow(missing_docs, clippy::panic)]

mod common;

use common::{config, planned_state, state};
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::plan::{Plan, Request, plan};
use pgha_provider_core::value::Value;
use pgha_schema::resource::schema;
use serde_json::{Value as Json, json};

fn made(config: &Value, prior: &Value) -> Plan {
    made_with(config, prior, &Facts::default(), "0.1.0")
}

fn made_with(config: &Value, prior: &Value, facts: &Facts, agent_version: &str) -> Plan {
    let plan = plan(&Request { config, prior, facts, agent_version });
    let violations = check::plan(schema(), config, prior, &plan.planned, &plan.requires_replace);
    assert!(violations.is_empty(), "{violations:?}");
    plan
}

/// The plan of an edit of the minimal configuration.
fn edited(edit: impl Fn(&mut Json)) -> Plan {
    let mut json = common::minimal();
    edit(&mut json);
    made(&config(&json), &state(&common::minimal()))
}

fn errors(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.iter().filter(|one| one.is_error()).map(ToString::to_string).collect()
}

fn last_change(plan: &Plan) -> &str {
    plan.planned.get("last_change").as_str().expect("a known last_change")
}

#[test]
fn a_create_knows_all_but_what_only_apply_can_tell() {
    let plan = made(&config(&common::minimal()), &Value::Null);
    let unknown: Vec<&str> = schema()
        .attributes
        .iter()
        .map(|attribute| attribute.name.as_str())
        .filter(|name| !plan.planned.get(name).is_wholly_known())
        .collect();
    assert_eq!(unknown, ["ready", "system_identifier"]);
    assert_eq!(plan.planned.get("rw_host"), &Value::from("orders-rw.shop.svc"));
    assert_eq!(plan.planned.get("failover_bound_seconds"), &Value::int(15));
    assert_eq!(plan.planned.get("image"), &Value::from("docker.io/library/postgres:18"));
    assert_eq!(last_change(&plan), "create: a primary and 2 standbys of PostgreSQL 18");
    assert!(plan.diagnostics.is_empty());
}

#[test]
fn nothing_changes_when_nothing_changed_however_it_is_spelled() {
    let state = state(&common::everything());
    let plan = made(&config(&common::everything()), &state);
    assert_eq!(plan.planned, state);
    let mut json = common::everything();
    json["storage"]["size"] = json!("102400Mi");
    json["resources"]["requests"] = json!({"cpu": "0.5", "memory": "1024Mi"});
    json["failover"]["lease_duration"] = json!("20000ms");
    assert_eq!(made(&config(&json), &state).planned, state);
}

#[test]
fn a_map_that_changes_anywhere_is_taken_word_for_word() {
    let mut json = common::everything();
    json["resources"]["requests"] = json!({"cpu": "0.5", "memory": "2Gi"});
    let plan = made(&config(&json), &state(&common::everything()));
    assert_eq!(
        plan.planned.get("resources.requests").to_json(),
        Some(json!({"cpu": "0.5", "memory": "2Gi"}))
    );
}

#[test]
fn a_removed_attribute_returns_to_its_default() {
    let mut with = common::minimal();
    with["replicas"] = json!(5);
    with["failover"] = json!({"lease_duration": "30s"});
    let plan = made(&config(&common::minimal()), &state(&with));
    assert_eq!(plan.planned.get("replicas"), &Value::int(2));
    assert_eq!(plan.planned.get("failover.lease_duration"), &Value::from("10s"));
}

#[test]
fn timeouts_and_deletion_protection_touch_no_cluster() {
    let before = state(&common::minimal());
    let plan = edited(|json| {
        json["timeouts"] = json!({"create": "20m"});
        json["deletion_protection"] = json!(false);
    });
    for output in schema().attributes.iter().filter(|attribute| attribute.is_output()) {
        assert_eq!(plan.planned.get(&output.name), before.get(&output.name), "{}", output.name);
    }
    assert_ne!(plan.planned, before);
}

#[test]
fn last_change_says_what_happens_to_the_database() {
    type Edit = fn(&mut Json);
    let table: [(Edit, &str); 11] = [
        (|json| json["sync_mode"] = json!("async"), "online, no restart: sync_mode"),
        (|json| json["labels"] = json!({"team": "shop"}), "online, no restart: labels"),
        (
            |json| json["tls"] = json!({"secret": "orders-certificate"}),
            "rolling restart (all 3 instances: standbys one by one, a switchover, the old primary last; writes pause for about a \
             second): tls",
        ),
        (|json| json["replicas"] = json!(4), "scale up: 2 standbys are cloned"),
        (
            |json| json["replicas"] = json!(1),
            "scale down: orders-2 go, their volumes are kept; should one of them be the primary, a switchover comes first \
             (writes pause for about a second)",
        ),
        (|json| json["parameters"] = json!({"work_mem": "8MB"}), "reload: parameters.work_mem"),
        (
            |json| json["parameters"] = json!({"shared_buffers": "1GB", "work_mem": "8MB"}),
            "reload: parameters.work_mem; restart of PostgreSQL in all 3 instances, standbys one by one, the primary last \
             (writes wait for a second or a few, until the primary is back): parameters.shared_buffers",
        ),
        (
            |json| json["parameters"] = json!({"max_connections": "50"}),
            "restart of PostgreSQL in all 3 instances, the primary first, since a standby must never have less, then standbys \
             one by one (writes wait for a second or a few, until the primary is back): parameters.max_connections",
        ),
        (
            |json| json["postgres_version"] = json!("18.1"),
            "rolling restart (all 3 instances: standbys one by one, a switchover, the old primary last; writes pause for about a \
             second): image, postgres_version",
        ),
        (|json| json["storage"]["size"] = json!("20Gi"), "growth: the volumes from 10Gi to 20Gi, in place"),
        (|json| json["pg_hba"] = json!(["host all all 10.0.0.0/8 scram-sha-256"]), "reload: pg_hba"),
    ];
    for (edit, expected) in table {
        let plan = edited(edit);
        assert_eq!(last_change(&plan), expected);
        assert!(plan.requires_replace.is_empty() && errors(&plan.diagnostics).is_empty());
        assert_eq!(plan.planned.get("ready"), &Value::Bool(true));
    }
}

#[test]
fn the_only_instance_has_nobody_to_take_over() {
    let mut json = common::minimal();
    json["replicas"] = json!(0);
    let before = state(&json);
    for (name, value) in
        [("postgres_version", json!("18.1")), ("parameters", json!({"shared_buffers": "1GB"}))]
    {
        let mut changed = json.clone();
        changed[name] = value;
        let told = last_change(&made(&common::config(&changed), &before)).to_owned();
        assert!(told.contains("the only instance: no reads or writes until it is back"), "{told}");
        assert!(!told.contains("standbys"), "{told}");
    }
}

#[test]
fn what_a_change_does_is_a_warning_too() {
    let warned = |plan: &Plan| {
        let told: Vec<_> = plan.diagnostics.iter().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].is_error() && told[0].detail == last_change(plan), "{told:?}");
        told[0].summary.clone()
    };
    let runs = "This change is made while the database runs";
    assert_eq!(warned(&edited(|json| json["sync_mode"] = json!("async"))), runs);
    assert_eq!(warned(&edited(|json| json["parameters"] = json!({"work_mem": "8MB"}))), runs);
    assert_eq!(warned(&edited(|json| json["storage"]["size"] = json!("20Gi"))), runs);
    assert_eq!(warned(&edited(|json| json["replicas"] = json!(3))), runs);
    let plan = edited(|json| json["postgres_version"] = json!("18.1"));
    assert_eq!(warned(&plan), "This change interrupts connections");
    assert!(last_change(&plan).starts_with("rolling restart"));
}

#[test]
fn impossible_changes_are_refused_with_a_way_out() {
    type Edit = fn(&mut Json);
    let table: [(Edit, &str); 3] = [
        (|json| json["storage"]["size"] = json!("5Gi"), "error: storage.size: Volumes can't shrink"),
        (
            |json| json["storage"]["class"] = json!("fast"),
            "error: storage.class: storage.class can't be changed",
        ),
        (
            |json| json["postgres_version"] = json!("17"),
            "error: postgres_version: Another major version needs another cluster",
        ),
    ];
    for (edit, expected) in table {
        let errors = errors(&edited(edit).diagnostics);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{}", errors[0]);
        assert!(errors[0].contains("second cluster"), "{}", errors[0]);
    }
}

#[test]
fn a_new_number_wants_its_password_and_an_old_one_does_not() {
    let numbered = |number: u32| {
        let mut json = common::minimal();
        json["superuser_password_wo_version"] = json!(number);
        json
    };
    let refusal =
        "error: superuser_password_wo_version: superuser_password_wo_version without superuser_password_wo";
    for (prior, way_out) in [(common::minimal(), "leave both out"), (numbered(1), "as it was")] {
        let errors = errors(&made(&config(&numbered(2)), &state(&prior)).diagnostics);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(refusal) && errors[0].contains(way_out), "{}", errors[0]);
    }
    let new = made(&config(&numbered(2)), &Value::Null).diagnostics.to_string();
    assert!(new.starts_with("warning: superuser_password_wo_version: "), "{new}");
    assert!(new.contains("a random one"), "{new}");
    let same = made(&config(&numbered(1)), &state(&numbered(1)));
    assert_eq!((errors(&same.diagnostics).len(), same.planned), (0, state(&numbered(1))));
}

#[test]
fn drift_an_unfinished_change_and_a_new_agent_each_make_an_update() {
    let config = config(&common::minimal());
    let mut drifted = state(&common::minimal());
    let entry = Value::object([
        ("object", "Service/orders-rw".into()),
        ("field", "spec.selector".into()),
        ("diff", "-a\n+b\n".into()),
        ("changed_by", Value::Null),
        ("changed_at", Value::Null),
    ]);
    drifted.set_at("drift", Value::List(vec![entry]));
    let plan = made(&config, &drifted);
    assert_eq!(plan.planned.get("drift"), &Value::List(Vec::new()));
    assert_eq!(last_change(&plan), "repair of drift: Service/orders-rw spec.selector");

    let inside = |name: &str| {
        let mut entry = drifted.get("drift").as_items().unwrap()[0].clone();
        entry.set_at("object", "PostgreSQL/orders-0".into());
        entry.set_at("field", name.into());
        let mut state = drifted.clone();
        state.set_at("drift", Value::List(vec![entry]));
        made(&config, &state)
    };
    let plan = inside("work_mem");
    assert_eq!(last_change(&plan), "repair of drift: PostgreSQL/orders-0 work_mem");
    assert!(!plan.diagnostics.to_string().contains("interrupts connections"), "{}", plan.diagnostics);
    let plan = inside("shared_buffers");
    assert!(
        last_change(&plan).contains("restart of PostgreSQL where they are in force"),
        "{}",
        last_change(&plan)
    );
    assert!(plan.diagnostics.to_string().contains("interrupts connections"), "{}", plan.diagnostics);

    let mut unfinished = state(&common::minimal());
    unfinished.set_at("ready", Value::Bool(false));
    let plan = made(&config, &unfinished);
    assert_eq!(plan.planned.get("ready"), &Value::Bool(true));
    assert_eq!(last_change(&plan), "finish: the configuration is put in force everywhere");

    let state = state(&common::minimal());
    let plan = made_with(&config, &state, &Facts::default(), "0.2.0");
    assert_eq!(plan.planned.get("agent_version"), &Value::from("0.2.0"));
    assert_eq!(
        last_change(&plan),
        "agent 0.2.0 under the running PostgreSQL, standbys one by one, the primary last: no restart, no switchover"
    );
    assert!(!plan.diagnostics.to_string().contains("interrupts"), "{}", plan.diagnostics);
    let older = made_with(&config, &state, &Facts::default(), "0.0.9");
    assert_eq!(older.planned, state, "an older provider leaves a newer agent alone");
    let mut json = common::minimal();
    json["replicas"] = json!(3);
    let plan = made_with(&common::config(&json), &state, &Facts::default(), "0.0.9");
    assert!(errors(&plan.diagnostics)[0].contains("Use provider version 0.1.0 or a newer one"));
}

/// What an image holds is found out by apply, and is the user's: no newer provider exchanges it, no older one is refused.
#[test]
fn the_version_of_an_images_agent_is_the_images() {
    let mut json = common::minimal();
    json["agent_image"] = json!("registry.example.com/pgha-agent:1");
    let (own, image) = (common::config(&common::minimal()), common::config(&json));
    let plan = edited(|json| json["agent_image"] = json!("registry.example.com/pgha-agent:1"));
    assert_eq!(plan.planned.get("agent_version"), &Value::Unknown);
    assert!(last_change(&plan).contains("rolling restart"), "{}", last_change(&plan));
    assert!(last_change(&plan).contains("agent_image"), "{}", last_change(&plan));

    let state = state(&json);
    for provider in ["0.0.9", "0.2.0"] {
        let plan = made_with(&image, &state, &Facts::default(), provider);
        assert_eq!(plan.planned, state, "provider {provider} leaves the image's agent alone");
        let mut json = json.clone();
        json["replicas"] = json!(3);
        let plan = made_with(&common::config(&json), &state, &Facts::default(), provider);
        assert!(!plan.diagnostics.has_errors(), "{}", plan.diagnostics);
    }
    let plan = made_with(&own, &state, &Facts::default(), "0.1.0");
    assert_eq!(plan.planned.get("agent_version"), &Value::from("0.1.0"));
}

#[test]
fn a_protected_cluster_is_neither_destroyed_nor_replaced() {
    let state = state(&common::minimal());
    let destroy = made(&Value::Null, &state);
    assert!(destroy.planned.is_null());
    assert!(errors(&destroy.diagnostics)[0].contains("deletion_protection = false"));

    let plan = edited(|json| json["bootstrap"] = json!({"database": "other"}));
    assert_eq!(
        plan.requires_replace.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["bootstrap.database"]
    );
    assert!(errors(&plan.diagnostics)[0].contains("protected against replacement"));

    // -replace and create_before_destroy: the first plan is innocent, the second one sees the mark.
    let first = made(&config(&common::minimal()), &state);
    assert!(first.facts.protected && errors(&first.diagnostics).is_empty());
    let second = made_with(&config(&common::minimal()), &Value::Null, &first.facts, "0.1.0");
    assert!(errors(&second.diagnostics)[0].contains("terraform untaint"));
}

#[test]
fn protection_is_judged_on_the_prior_state_and_only_for_data() {
    let mut json = common::minimal();
    json["deletion_protection"] = json!(false);
    // Switching it off in the same plan does not count: it was on.
    json["bootstrap"] = json!({"database": "other"});
    assert!(!errors(&made(&config(&json), &state(&common::minimal())).diagnostics).is_empty());
    assert!(errors(&made(&Value::Null, &state(&json)).diagnostics).is_empty());
    let mut empty = state(&common::minimal());
    empty.set_at("system_identifier", Value::Null);
    assert!(errors(&made(&Value::Null, &empty).diagnostics).is_empty());
}

#[test]
fn unknown_inputs_leave_what_depends_on_them_unknown_and_the_rest_known() {
    let mut unknown = config(&common::minimal());
    unknown.set_at("parameters", Value::Map([("work_mem".to_owned(), Value::Unknown)].into()));
    let first = made(&unknown, &state(&common::minimal()));
    assert!(first.planned.get("last_change").is_unknown());
    assert_eq!(first.planned.get("rw_host"), &Value::from("orders-rw.shop.svc"));
    // The plan during apply completes the first one.
    let mut json = common::minimal();
    json["parameters"] = json!({"work_mem": "1MB"});
    let second = made(&config(&json), &state(&common::minimal()));
    assert!(check::completion(&first.planned, &second.planned).is_empty());

    let mut nameless = config(&common::minimal());
    nameless.set_at("name", Value::Unknown);
    let plan = made(&nameless, &Value::Null);
    for name in ["rw_host", "ro_host", "superuser_secret", "app_secret"] {
        assert!(plan.planned.get(name).is_unknown(), "{name}");
    }
}

#[test]
fn a_load_balancers_address_is_unknown_until_it_is_there_and_kept_then() {
    let create = made(&config(&common::everything()), &Value::Null);
    assert!(create.planned.get("rw_host").is_unknown());
    assert!(!create.planned.get("ro_host").is_unknown());
    let mut state = planned_state(&create.planned);
    state.set_at("rw_host", "203.0.113.7".into());
    let mut json = common::everything();
    json["parameters"] = json!({"work_mem": "1MB", "max_connections": "200"});
    assert_eq!(made(&config(&json), &state).planned.get("rw_host"), &Value::from("203.0.113.7"));
    json["services"]["rw"] = json!({"type": "ClusterIP"});
    assert_eq!(made(&config(&json), &state).planned.get("rw_host"), &Value::from("orders-rw.shop.svc"));
}
