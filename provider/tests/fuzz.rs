//! Bytes that nobody meant: everything that is read from outside gets mutilated documents of a corpus. Nothing may crash, and what
//! is read must survive being written and read again. `fuzz/` holds the corpus; an input that once broke something joins it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use kube::config::Kubeconfig;
use pgha_fuzz::{CASES, comes_back, fuzz, read_all};
use pgha_provider::live::config::Connector;
use pgha_provider::plugin::handshake::HostRequest;
use pgha_provider::plugin::tls::ServerTls;
use pgha_provider::wire::{json, msgpack};
use pgha_provider_core::anchor::Anchor;
use pgha_provider_core::live::{LiveCluster, Seen};
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_provider_core::progress::progress;
use pgha_provider_core::step::Wish;
use pgha_provider_core::value::Value;
use pgha_provider_core::view::view;
use pgha_schema::desired::Desired;
use pgha_schema::names::{ANNOTATION_RECORD, KEY_STATUS, Names};
use pgha_schema::record::Record;
use pgha_schema::resource::schema;
use pgha_schema::status::ClusterStatus;
use serde_json::json;

/// The corpus of a reader: every file below `fuzz/NAME`.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name))
}

fn states() -> Vec<Vec<u8>> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"))
}

#[test]
fn stored_states_are_read_or_refused() {
    let ty = schema().ty();
    let read = fuzz(states(), CASES, |bytes| json::decode(bytes, &ty).is_ok());
    assert!(read > 2, "no mutilated state can be read: the corpus tests nothing");
}

#[test]
fn values_on_the_wire_are_read_or_refused_and_come_back() {
    let ty = schema().ty();
    let mut documents = corpus("msgpack");
    for state in states() {
        let value = json::decode(&state, &ty).expect("a frozen state");
        documents.push(msgpack::encode(&value, &ty).expect("a value of its type"));
    }
    let read = fuzz(documents, CASES, |bytes| {
        let Ok(value) = msgpack::decode(bytes, &ty) else { return false };
        let again = msgpack::encode(&value, &ty).expect("what was read can be written");
        assert_eq!(msgpack::decode(&again, &ty).expect("and read again"), value);
        true
    });
    assert!(read > 4, "no mutilated value can be read: the corpus tests nothing");
}

#[test]
fn kubeconfigs_are_read_or_refused_with_a_diagnostic() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Value::object([("config_path".to_owned(), Value::from(file.to_string_lossy().as_ref()))]);
    let (documents, programs) = (corpus("kubeconfig"), std::cell::Cell::new(0));
    let whole =
        documents.iter().filter(|bytes| String::from_utf8_lossy(bytes).contains("current-context")).count();
    let read = fuzz(documents, CASES / 5, |bytes| {
        let Some(named) = programs_of(bytes) else { return false };
        programs.set(programs.get() + named);
        std::fs::write(&file, bytes).expect("write it");
        match runtime.block_on(Connector::new(&config, "1.14.0").connection()) {
            Ok(_) => true,
            Err(diagnostic) => {
                assert!(!diagnostic.summary.is_empty() && !diagnostic.detail.is_empty(), "{diagnostic:?}");
                false
            }
        }
    });
    assert!(
        whole >= 4 && read > whole,
        "{read} of {whole} whole kubeconfigs and their mutilated copies were read"
    );
    assert!(programs.get() > 1, "no mutilated kubeconfig names the program");
}

/// The program that the corpus names: it gives nothing, and can be given anything.
const PROGRAM: &str = "/bin/false";

/// How many of a kubeconfig's users have [`PROGRAM`]; `None` where another one would run: that must not happen.
fn programs_of(bytes: &[u8]) -> Option<usize> {
    // As the provider reads it: what is none runs nothing either.
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| Kubeconfig::from_yaml(text).ok());
    let users = parsed.into_iter().flat_map(|config| config.auth_infos).filter_map(|user| user.auth_info);
    let mut named = 0;
    for user in users {
        match user.exec {
            Some(exec) if exec.command.as_deref() == Some(PROGRAM) && exec.env.is_none() => named += 1,
            Some(_) => return None,
            None if user.auth_provider.is_some() => return None,
            None => {}
        }
    }
    Some(named)
}

#[test]
fn a_hosts_environment_is_read_or_refused() {
    let read = fuzz(corpus("handshake"), CASES, |bytes| {
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            Some((line[..at].to_vec(), OsString::from_vec(line[at + 1..].to_vec())))
        });
        let environment: BTreeMap<Vec<u8>, OsString> = lines.collect();
        let Ok(request) = HostRequest::from_env(|name| environment.get(name.as_bytes()).cloned()) else {
            return false;
        };
        assert!(request.answer(Path::new("/s"), None).starts_with("1|6|unix|/s|grpc|"));
        if let Some(pem) = &request.client_certificate_pem {
            // A certificate or a refusal.
            drop(ServerTls::for_client(pem));
        }
        true
    });
    assert!(read > 1, "no mutilated environment can be read: the corpus tests nothing");
}

#[test]
fn documents_in_config_maps_and_the_lease_are_read_or_refused_and_come_back() {
    assert!(fuzz(corpus("desired"), CASES, comes_back::<Desired>) > 1);
    assert!(fuzz(corpus("record"), CASES, comes_back::<Record>) > 1);
    assert!(fuzz(corpus("status"), CASES, comes_back::<ClusterStatus>) > 2);
    let anchors = fuzz(corpus("anchor"), CASES, |bytes| {
        serde_json::from_slice(bytes).is_ok_and(|object| Anchor::parse(&object).is_ok())
    });
    assert!(anchors > 1, "no mutilated anchor can be read: the corpus tests nothing");
}

/// A cluster of which only this text is there: an annotation or the data of one object.
fn cluster_telling(kind: Kind, name: &str, place: &str, text: &str) -> LiveCluster {
    let mut live = LiveCluster::nothing("orders");
    let object = json!({"metadata": {"annotations": {place: text}}, "data": {place: text}});
    live.objects.insert(ObjectKey::new(kind, name), Seen::Known(object));
    live
}

/// Everything that the provider makes of a snapshot while it reads and waits.
fn judged(live: &LiveCluster) {
    let config =
        Value::object([("name", "orders".into()), ("namespace", "shop".into()), ("timeouts", Value::Null)]);
    if let Err(diagnostic) = view(&config, "shop", live) {
        assert!(!diagnostic.summary.is_empty(), "{diagnostic:?}");
    }
    let wishes = [
        Wish::Primary,
        Wish::Streaming { standbys: 2 },
        Wish::Acknowledged { generation: 4, sha256: String::new() },
        Wish::Answered { id: "a".to_owned() },
        Wish::Stopped,
    ];
    for wish in wishes {
        let _ = progress(&wish, &LiveCluster::nothing("orders"), live, 60_000);
    }
}

#[test]
fn what_agents_tell_is_judged_whatever_it_says() {
    let names = Names::new("orders");
    let read = fuzz(corpus("status"), CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let live = cluster_telling(Kind::ConfigMap, &names.status(), KEY_STATUS, &text);
        judged(&live);
        live.status().is_some()
    });
    assert!(read > 2, "no mutilated status can be read: the corpus tests nothing");
    let read = fuzz(corpus("record"), CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let live = cluster_telling(Kind::Lease, names.cluster(), ANNOTATION_RECORD, &text);
        judged(&live);
        live.record().is_some()
    });
    assert!(read > 1, "no mutilated record can be read: the corpus tests nothing");
}
