//! The Services: rw, ro, r, and the headless one that names the pods.

use pgha_schema::names::{LABEL_READ_ONLY, LABEL_ROLE, POSTGRES_PORT, REST_PORT, ROLE_PRIMARY};
use pgha_schema::resource::{Service, ServiceType};
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object, pod_selector, without_nulls};
use crate::object::Kind;

pub(super) fn all(inputs: &Inputs<'_>) -> Vec<Json> {
    let names = inputs.names();
    let services = &inputs.spec.services;
    vec![
        headless(inputs, &names.service_pods()),
        // Readiness must not delay the primary's clients (A29): who carries the label serves.
        service(inputs, &names.service_rw(), &services.rw, Some((LABEL_ROLE, ROLE_PRIMARY)), true),
        service(inputs, &names.service_ro(), &services.ro, Some((LABEL_READ_ONLY, "true")), false),
        service(inputs, &names.service_r(), &services.r, None, false),
    ]
}

fn port(name: &str, number: u16) -> Json {
    json!({"name": name, "port": number, "protocol": "TCP", "targetPort": number})
}

fn service(
    inputs: &Inputs<'_>,
    name: &str,
    wanted: &Service,
    label: Option<(&str, &str)>,
    publish_not_ready: bool,
) -> Json {
    let mut selector = pod_selector(&inputs.spec.name);
    if let Some((key, value)) = label {
        selector[key] = json!(value);
    }
    let mut metadata = inputs.metadata(name, Component::Network);
    for (key, value) in wanted.annotations.iter().flatten() {
        metadata["annotations"][key] = json!(value);
    }
    let ranges = wanted.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty());
    let ranges = ranges.filter(|_| wanted.r#type == ServiceType::LoadBalancer);
    let spec = json!({
        "type": wanted.r#type.as_str(),
        "selector": selector,
        "ports": [port("postgres", POSTGRES_PORT)],
        "publishNotReadyAddresses": publish_not_ready,
        "loadBalancerSourceRanges": ranges,
    });
    without_nulls(object(Kind::Service, metadata, json!({"spec": spec})))
}

fn headless(inputs: &Inputs<'_>, name: &str) -> Json {
    let spec = json!({
        "type": ServiceType::ClusterIP.as_str(),
        "clusterIP": "None",
        "selector": pod_selector(&inputs.spec.name),
        "ports": [port("postgres", POSTGRES_PORT), port("rest", REST_PORT)],
        "publishNotReadyAddresses": true,
    });
    object(Kind::Service, inputs.metadata(name, Component::Network), json!({"spec": spec}))
}
