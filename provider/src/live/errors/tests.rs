use kube::client::AuthError;
use serde_json::json;

use super::*;

fn answered(verb: Verb, kind: Kind, name: &str, status: serde_json::Value) -> LiveError {
    let status: Status = serde_json::from_value(status).unwrap();
    LiveError {
        verb,
        kind,
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        server: "https://k:6443".to_owned(),
        configured_by: "kubeconfig /x, given by KUBECONFIG".to_owned(),
        error: kube::Error::Api(Box::new(status)),
    }
}

fn text(error: &LiveError, parts: &[&str]) {
    let text = error.diagnostic().to_string();
    for part in parts {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_missing_right_is_named_with_the_role_that_has_it() {
    let message = "leases.coordination.k8s.io \"orders\" is forbidden: User \"ci\" cannot get resource \"leases\" \
                   in API group \"coordination.k8s.io\" in the namespace \"shop\"";
    let status = json!({"code": 403, "reason": "Forbidden", "message": message});
    let error = answered(Verb::Get, Kind::Lease, "orders", status.clone());
    assert!(error.is_forbidden());
    text(
        &error,
        &["No right to get leases in namespace shop", "User \"ci\"", "coordination.k8s.io", "reader.yaml"],
    );
    text(
        &answered(Verb::Create, Kind::Lease, "orders", status),
        &["the verb create on leases", "writer.yaml"],
    );
}

#[test]
fn a_quota_is_no_missing_right() {
    let message =
        "services \"orders-rw\" is forbidden: exceeded quota: q, requested: services=1, used: services=3";
    let status = json!({"code": 403, "reason": "Forbidden", "message": message});
    let error = answered(Verb::Patch, Kind::Service, "orders-rw", status);
    assert!(!error.is_forbidden());
    text(
        &error,
        &[
            "Kubernetes refuses Service orders-rw",
            "exceeded quota",
            "Raise ResourceQuota q of namespace shop",
        ],
    );
}

#[test]
fn a_field_that_stays_as_it_is_is_told_with_the_way_out() {
    let status = json!({"code": 422, "reason": "Invalid", "message": "StatefulSet.apps \"orders\" is invalid", "details": {"causes": [
        {"reason": "FieldValueInvalid", "message": "field is immutable", "field": "spec.selector"},
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.serviceName"},
    ]}});
    text(
        &answered(Verb::Patch, Kind::StatefulSet, "orders", status),
        &[
            "Kubernetes refuses StatefulSet orders",
            "\n  spec.selector: field is immutable\n  spec.serviceName: Required value\n",
            "kubectl delete statefulset orders --namespace shop --cascade=orphan",
        ],
    );
}

#[test]
fn a_policy_that_answers_with_a_code_of_its_own_is_known_all_the_same() {
    let message = "admission webhook \"team.example.org\" denied the request: label team is missing";
    let status = json!({"code": 400, "reason": "BadRequest", "message": message});
    text(
        &answered(Verb::Create, Kind::ServiceAccount, "orders", status),
        &[
            "Kubernetes refuses ServiceAccount orders",
            "label team is missing",
            "webhook team.example.org says so",
        ],
    );
}

#[test]
fn conflicts_name_each_field_and_its_manager() {
    let status = json!({"code": 409, "reason": "Conflict", "message": "Apply failed", "details": {"causes": [
        {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.replicas"},
        {"reason": "FieldManagerConflict", "message": "conflict with \"hpa\"", "field": ".spec.paused"},
    ]}});
    let error = answered(Verb::Patch, Kind::StatefulSet, "orders", status);
    assert_eq!(
        error.conflicts()[0],
        Conflict { field: ".spec.replicas".to_owned(), manager: "kubectl-edit".to_owned() }
    );
    assert!(!error.is_other_uid());
    text(&error, &["spec.replicas: managed by \"kubectl-edit\"", "spec.paused: managed by \"hpa\""]);
}

#[test]
fn another_object_of_the_same_name_is_recognised_by_its_uid() {
    let by_delete = json!({"code": 409, "reason": "Conflict",
        "message": "Operation cannot be fulfilled: the UID in the precondition (a) does not match the UID in record (b)"});
    assert!(answered(Verb::Delete, Kind::Service, "x", by_delete).is_other_uid());
    let by_change = json!({"code": 422, "reason": "Invalid", "message": "", "details": {"causes": [
        {"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]}});
    assert!(answered(Verb::Patch, Kind::Service, "x", by_change).is_other_uid());
}

#[test]
fn expired_credentials_and_missing_namespaces_have_their_own_words() {
    let status = json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"});
    text(
        &answered(Verb::Get, Kind::Lease, "x", status),
        &["does not accept the credentials", "expired", "KUBECONFIG"],
    );
    let status = json!({"code": 404, "reason": "NotFound", "message": "namespaces \"shop\" not found"});
    text(
        &answered(Verb::Create, Kind::ConfigMap, "x", status),
        &["Namespace shop does not exist", "kubectl create namespace shop"],
    );
}

#[test]
fn an_unreachable_server_keeps_the_state() {
    let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
    let mut error = answered(Verb::Get, Kind::Lease, "x", json!({}));
    error.error = kube::Error::Service(Box::new(refused));
    assert!(error.is_passing() && !error.is_not_found());
    text(&error, &["https://k:6443 can't be reached", "connection refused", "state is kept"]);
}

#[test]
fn a_certificate_is_the_trouble_only_where_one_was_looked_at() {
    let failed = |cause: std::io::Error| {
        let mut error = answered(Verb::Get, Kind::Lease, "x", json!({}));
        error.error = kube::Error::Service(Box::new(cause));
        error
    };
    // As the connector wraps it.
    let tls = |cause: rustls::Error| {
        failed(std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, cause)))
    };
    let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    text(&tls(unknown), &["No trusted connection to https://k:6443", "cluster_ca_certificate"]);
    let expired = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
    text(&tls(expired), &["does not accept the client's certificate", "client_key"]);
    let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    text(&tls(plain), &["can't be reached"]);
    let elsewhere = std::io::Error::other("no route to tls-certificate.example");
    text(&failed(elsewhere), &["can't be reached", "tls-certificate.example"]);
    let mut settings = answered(Verb::Get, Kind::Lease, "x", json!({}));
    settings.error = kube::Error::RustlsTls(kube::client::RustlsTlsError::MissingPrivateKey);
    text(&settings, &["TLS settings can't be used", "private key", "client_key"]);
}

#[test]
fn a_server_may_say_when_it_wants_to_be_asked_again() {
    let busy = |details: serde_json::Value| {
        let status = json!({"code": 429, "reason": "TooManyRequests", "details": details});
        answered(Verb::Get, Kind::Lease, "x", status)
    };
    let asked = busy(json!({"retryAfterSeconds": 7}));
    assert!(asked.is_passing());
    assert_eq!(asked.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!((busy(json!({})).retry_after(), busy(json!(null)).retry_after()), (None, None));
}

#[test]
fn without_credentials_nothing_is_sent_again_and_what_failed_is_named() {
    let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "not there");
    let mut error = answered(Verb::Get, Kind::Lease, "x", json!({}));
    error.error = kube::Error::Auth(AuthError::ReadTokenFile(missing, "/token".into()));
    text(&error, &["credentials can't be used", "/token", "not there", "KUBECONFIG"]);
    error.error = kube::Error::Service(Box::new(AuthError::ExecPluginFailed));
    assert!(!error.is_passing());
    text(&error, &["program that gives the Kubernetes credentials failed", "status"]);
}
