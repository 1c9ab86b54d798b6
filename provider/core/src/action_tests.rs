//! What is told of actions without a cluster.

use super::*;

fn config(action: Action, given: &[(&str, Value)]) -> Value {
    let mut config = Value::empty_object(&action.schema().ty());
    config.set_at("name", "orders".into());
    config.set_at("namespace", "shop".into());
    for (name, value) in given {
        config.set_at(name, value.clone());
    }
    config
}

#[test]
fn an_instance_is_one_of_the_clusters_pods() {
    for (action, attribute) in
        [(Action::Switchover, "to"), (Action::Restart, "instance"), (Action::ReinitReplica, "instance")]
    {
        let found = |value: Value| validate(action, &config(action, &[(attribute, value)])).to_string();
        for good in [Value::from("orders-0"), Value::Unknown] {
            assert_eq!(found(good), "", "{action:?}");
        }
        for bad in ["invoices-0", "orders", "orders-01", "data-orders-1"] {
            let told = found(bad.into());
            assert!(told.starts_with(&format!("error: {attribute}: Invalid {attribute}")), "{told}");
            assert!(told.contains("orders-0, orders-1"), "{told}");
        }
    }
}

#[test]
fn every_value_is_validated_with_its_path() {
    let roles = Value::List(vec!["app".into(), "admin".into()]);
    let found = validate(Action::RotateCredentials, &config(Action::RotateCredentials, &[("roles", roles)]));
    assert!(found.to_string().starts_with("error: roles[1]: "), "{found}");
    let none = config(Action::RotateCredentials, &[("roles", Value::List(Vec::new()))]);
    assert!(validate(Action::RotateCredentials, &none).to_string().starts_with("error: roles: "));
    let timeouts = Value::object([("invoke", Value::from("soon"))]);
    let found = validate(Action::Restart, &config(Action::Restart, &[("timeouts", timeouts)]));
    assert!(found.to_string().starts_with("error: timeouts.invoke: "), "{found}");
}

#[test]
fn a_plan_warns_of_what_happens_to_the_running_database() {
    let told = |action, given: &[(&str, Value)]| warning(action, &config(action, given)).to_string();
    for (told, words) in [
        (told(Action::Switchover, &[]), "its best standby"),
        (told(Action::Switchover, &[("to", "orders-1".into())]), "instance orders-1"),
        (told(Action::Switchover, &[("to", Value::Unknown)]), "(known after apply)"),
        (told(Action::Restart, &[]), "the primary last"),
        (told(Action::Restart, &[("instance", "orders-2".into())]), "PostgreSQL in orders-2"),
        (told(Action::ReinitReplica, &[("instance", "orders-2".into())]), "thrown away"),
        (told(Action::RotateCredentials, &[]), "Open sessions stay"),
    ] {
        assert!(told.starts_with("warning: ") && told.contains(words), "{told}");
    }
}
