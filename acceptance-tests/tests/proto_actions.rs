//! Actions on the real binary, in front of an API server that only holds objects; an agent of a few lines answers there.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pgha_acceptance_tests::proto_client::actions::{Told, told};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::UNKNOWN;
use pgha_schema::desired::{Credentials, Desired, RunState, SyncMode, document_sha256};
use pgha_schema::names::{ANNOTATION_RECORD, KEY_DESIRED, KEY_STATUS};
use pgha_schema::record::Record;
use pgha_schema::request::{Answer, Asked, Outcome, Request};
use pgha_schema::resource::ClusterSpec;
use serde_json::{Value as Json, json as js};

const SWITCHOVER: &str = "postgres_ha_switchover";
const RESTART: &str = "postgres_ha_restart";
const REINIT: &str = "postgres_ha_reinit_replica";
const ROTATE: &str = "postgres_ha_rotate_credentials";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/orders";

fn orders(more: &Json) -> Json {
    let mut config = js!({ "name": "orders", "namespace": "shop" });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

/// A cluster of which nothing runs.
fn put_cluster(api: &FakeApi) -> Result<()> {
    let spec: ClusterSpec = serde_json::from_value(orders(&js!({ "storage": { "size": "1Gi" } })))?;
    let desired = spec.desired(3, "uid-anchor", "t", None, RunState::Running);
    let map = |name: &str, data: Json| {
        let metadata =
            js!({ "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "7" });
        api.put(
            "api/v1",
            "shop",
            "configmaps",
            js!({ "kind": "ConfigMap", "metadata": metadata, "data": data }),
        );
    };
    let configuration = orders(&js!({ "storage": { "size": "1Gi" } })).to_string();
    map("orders-anchor", js!({ "format": "1", "config.json": configuration, "objects.json": "{}" }));
    map("orders-desired", js!({ KEY_DESIRED: desired.to_text() }));
    map("orders-status", js!({}));
    let mut anchor = api.object(&format!("{CONFIG_MAPS}/orders-anchor")).context("no anchor")?;
    anchor["metadata"]["uid"] = js!("uid-anchor");
    api.put("api/v1", "shop", "configmaps", anchor);
    put_record(api, &Record::initial("uid-anchor", SyncMode::Sync))
}

fn put_record(api: &FakeApi, record: &Record) -> Result<()> {
    let annotations = js!({ ANNOTATION_RECORD: serde_json::to_string(record)? });
    let metadata =
        js!({ "name": "orders", "namespace": "shop", "uid": "uid-lease", "annotations": annotations });
    api.put("apis/coordination.k8s.io/v1", "shop", "leases", js!({ "kind": "Lease", "metadata": metadata }));
    Ok(())
}

fn record(api: &FakeApi) -> Result<Record> {
    let lease = api.object(LEASE).context("no Lease")?;
    let text = lease["metadata"]["annotations"][ANNOTATION_RECORD].as_str().context("no record")?;
    Ok(serde_json::from_str(text)?)
}

fn desired(api: &FakeApi) -> Result<(Desired, String)> {
    let map = api.object(&format!("{CONFIG_MAPS}/orders-desired")).context("no desired state")?;
    let text = map["data"][KEY_DESIRED].as_str().context("no document")?.to_owned();
    Ok((serde_json::from_str(&text)?, text))
}

/// Waits until the desired state is as wanted.
async fn until(api: &FakeApi, wanted: impl Fn(&Desired) -> bool) -> Result<Desired> {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            ticks.tick().await;
            let (document, _) = desired(api)?;
            if wanted(&document) {
                return Ok::<Desired, anyhow::Error>(document);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .context("the desired state stays as it is")?
}

/// The agents' part: the document that is there is in force.
fn acknowledge(api: &FakeApi) -> Result<()> {
    let (document, text) = desired(api)?;
    let acknowledged = js!({ "generation": document.generation, "sha256": document_sha256(&text) });
    let instance = |role: &str, state: &str| js!({ "role": role, "state": state });
    let status = js!({
        "format": 1, "acknowledged": acknowledged, "accepts_writes": true, "primary": "orders-0", "era": 1, "mode": "sync",
        "degraded": false, "agent_version": "0.1.0", "instances": {
            "orders-0": instance("primary", "serving"), "orders-1": instance("standby", "streaming"),
            "orders-2": instance("standby", "silent"),
        },
    });
    let mut map = api.object(&format!("{CONFIG_MAPS}/orders-status")).context("no status")?;
    map["data"] = js!({ KEY_STATUS: status.to_string() });
    api.put("api/v1", "shop", "configmaps", map);
    Ok(())
}

/// Answers the next request that is open, and gives it back.
async fn answer(api: &FakeApi, outcome: Outcome, text: &str) -> Result<Request> {
    let before = record(api)?;
    let open = |document: &Desired| document.requests.iter().find(|one| !before.knows(&one.id)).cloned();
    let document = until(api, |document| open(document).is_some()).await?;
    let request = open(&document).context("no request")?;
    let mut record = before;
    let (id, asked) = (request.id.clone(), request.asked.name().to_owned());
    record.answers.push(Answer { id, asked, outcome, text: text.to_owned() });
    put_record(api, &record)?;
    acknowledge(api)?;
    Ok(request)
}

#[tokio::test]
async fn they_are_served_and_their_mistakes_are_named_without_a_cluster() -> Result<()> {
    let host = Host::configured(&js!({ "host": UNKNOWN })).await?;
    let mut served: Vec<&String> = host.schemas.action_schemas.keys().collect();
    served.sort();
    assert_eq!(served, [REINIT, RESTART, ROTATE, SWITCHOVER]);
    let metadata = host.rpc().get_metadata(pb::get_metadata::Request {}).await?.into_inner();
    assert_eq!(metadata.actions.len(), served.len());
    for (action, given, starts) in [
        (SWITCHOVER, js!({ "to": "invoices-1" }), "error to: "),
        (RESTART, js!({ "instance": "orders" }), "error instance: "),
        (REINIT, js!({ "instance": "orders-x" }), "error instance: "),
        (ROTATE, js!({ "roles": ["admin"] }), "error roles"),
        (SWITCHOVER, js!({ "timeouts": { "invoke": "soon" } }), "error timeouts"),
    ] {
        let found = host.validate_action(action, &orders(&given)).await?;
        assert!(found.len() == 1 && found[0].starts_with(starts), "{action}: {found:?}");
    }
    let unknown = js!({ "name": UNKNOWN, "namespace": UNKNOWN, "to": UNKNOWN });
    assert_eq!(host.validate_action(SWITCHOVER, &unknown).await?, [""; 0]);
    // The plan asks nobody.
    let warned = host.plan_action(SWITCHOVER, &unknown).await?;
    assert!(
        warned.len() == 1
            && warned[0].starts_with("warning")
            && warned[0].contains("writes pause for about a second"),
        "{warned:?}"
    );
    let warned = host.plan_action(ROTATE, &orders(&js!({}))).await?;
    assert!(warned[0].contains("Passwords of cluster shop/orders will change"), "{warned:?}");
    // To carry it out, the provider has to know where.
    let Told { problems, .. } = told(host.invoke(SWITCHOVER, &orders(&js!({}))).await?).await?;
    assert!(problems[0].contains("not known yet"), "{problems:?}");
    Ok(())
}

#[tokio::test]
async fn a_request_goes_into_the_desired_state_and_its_answer_ends_the_action() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let mut ids = Vec::new();
    for generation in [4, 5] {
        let events = host.invoke(SWITCHOVER, &orders(&js!({ "to": "orders-1" }))).await?;
        let agent = answer(&api, Outcome::Done, "orders-1 is the primary now");
        let (ended, request) = tokio::try_join!(told(events), agent)?;
        let Told { progress, problems } = ended;
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            progress.first().map(String::as_str),
            Some("asked the primary's agent: switchover to orders-1")
        );
        assert_eq!(progress.last().map(String::as_str), Some("orders-1 is the primary now"));
        assert_eq!(request.asked, Asked::Switchover { to: Some("orders-1".into()) });
        let (document, _) = desired(&api)?;
        assert_eq!((document.generation, document.requests.len()), (generation, 1), "the answered one goes");
        ids.push(request.id);
    }
    assert_ne!(ids[0], ids[1], "repeated is asked again");
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_an_error_with_the_agents_reason() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let events = host.invoke(REINIT, &orders(&js!({ "instance": "orders-1" }))).await?;
    let agent =
        answer(&api, Outcome::Refused, "orders-1 holds the only other copy of the data, and a good one");
    let (ended, request) = tokio::try_join!(told(events), agent)?;
    assert_eq!(request.asked, Asked::Reinit { pod: "orders-1".into() });
    let problem = &ended.problems[0];
    assert!(
        problem.contains("The reinit was refused") && problem.contains("the only other copy"),
        "{problem}"
    );
    assert!(problem.contains("Nothing was begun"), "{problem}");
    Ok(())
}

#[tokio::test]
async fn all_are_restarted_the_primary_last() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let Told { problems, .. } = told(host.invoke(RESTART, &orders(&js!({}))).await?).await?;
    assert!(problems[0].contains("Nobody tells which instances"), "{problems:?}");
    acknowledge(&api)?;
    let events = host.invoke(RESTART, &orders(&js!({}))).await?;
    let agent = async {
        let mut pods = Vec::new();
        for _ in 0..2 {
            match answer(&api, Outcome::Done, "postgres was restarted").await?.asked {
                Asked::Restart { pod } => pods.push(pod),
                other => bail!("{other:?}"),
            }
        }
        Ok(pods)
    };
    let (ended, pods) = tokio::try_join!(told(events), agent)?;
    assert_eq!((ended.problems.len(), pods), (0, vec!["orders-1".to_owned(), "orders-0".to_owned()]));
    Ok(())
}

#[tokio::test]
async fn what_nobody_takes_up_is_withdrawn() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let given = orders(&js!({ "timeouts": { "invoke": "1s" } }));
    let Told { problems, .. } = told(host.invoke(SWITCHOVER, &given).await?).await?;
    assert!(problems[0].contains("Not answered within 1s"), "{problems:?}");
    assert!(problems[0].contains("was withdrawn"), "{problems:?}");
    assert_eq!(desired(&api)?.0.requests, []);

    let events = host.invoke(SWITCHOVER, &orders(&js!({}))).await?;
    let stop = async {
        until(&api, |document| !document.requests.is_empty()).await?;
        Ok(host.rpc().stop_provider(pb::stop_provider::Request {}).await?)
    };
    let (ended, _) = tokio::try_join!(told(events), stop)?;
    assert!(
        ended.problems[0].contains("Interrupted") && ended.problems[0].contains("was withdrawn"),
        "{:?}",
        ended.problems
    );
    assert_eq!(desired(&api)?.0.requests, []);
    Ok(())
}

#[tokio::test]
async fn new_passwords_are_written_and_never_read_or_told() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let mut passwords = Vec::new();
    for number in [4, 6] {
        let events = host.invoke(ROTATE, &orders(&js!({ "roles": ["app"] }))).await?;
        let agent = async {
            until(&api, |document| document.credentials.app == number).await?;
            acknowledge(&api)
        };
        let (Told { progress, problems }, ()) = tokio::try_join!(told(events), agent)?;
        assert_eq!(problems, [""; 0]);
        assert!(progress.contains(&"new passwords are in orders-app".to_owned()), "{progress:?}");
        let secret = api.object(&format!("{SECRETS}/orders-app")).context("no Secret")?;
        let texts = &secret["stringData"];
        let password = texts["password"].as_str().context("no password")?.to_owned();
        assert_eq!((password.len(), &texts["rotation"]), (32, &js!(number.to_string())));
        for address in ["uri", "plain-uri", "jdbc-url"] {
            let goes_with_it = texts[address].as_str().is_some_and(|text| text.contains(&password));
            assert!(goes_with_it, "{address} has another password");
        }
        assert!(!format!("{progress:?}").contains(&password), "it was told");
        passwords.push(password);
        // Something else raises the generation meanwhile.
        let events = host.invoke(SWITCHOVER, &orders(&js!({}))).await?;
        tokio::try_join!(told(events), answer(&api, Outcome::Done, "done"))?;
    }
    assert_ne!(passwords[0], passwords[1]);
    assert_eq!(desired(&api)?.0.credentials, Credentials { superuser: 0, app: 6 });
    let secrets: Vec<String> = api.requests().into_iter().filter(|one| one.contains("/secrets")).collect();
    let create = format!("POST {SECRETS}");
    assert_eq!(secrets, [create.clone(), create, format!("PUT {SECRETS}/orders-app")]);
    Ok(())
}

#[tokio::test]
async fn what_stands_against_it_is_named() -> Result<()> {
    let api = FakeApi::start().await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let Told { problems, .. } = told(host.invoke(SWITCHOVER, &orders(&js!({}))).await?).await?;
    assert!(problems[0].contains("There is no cluster called orders"), "{problems:?}");
    put_cluster(&api)?;
    api.forbid("secrets");
    let Told { problems, .. } = told(host.invoke(ROTATE, &orders(&js!({}))).await?).await?;
    assert!(problems[0].contains("not all rights to rotate the passwords of cluster orders"), "{problems:?}");
    assert_eq!(desired(&api)?.0.generation, 3, "nothing was asked for");
    Ok(())
}

/// A Secret with another password than PostgreSQL's would lock out whoever connects next.
#[tokio::test]
async fn without_each_right_that_it_needs_nothing_is_written() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    let old = js!({ "metadata": { "name": "orders-app" }, "stringData": { "password": "old" } });
    api.put("api/v1", "shop", "secrets", old.clone());
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let reinit = js!({ "instance": "orders-1" });
    for (action, more, verb, plural) in [
        (ROTATE, js!({}), "patch", "configmaps"),
        (ROTATE, js!({}), "create", "secrets"),
        (ROTATE, js!({}), "update", "secrets"),
        (SWITCHOVER, js!({}), "patch", "configmaps"),
        (SWITCHOVER, js!({}), "get", "leases"),
        (RESTART, js!({}), "patch", "configmaps"),
        (REINIT, reinit.clone(), "patch", "configmaps"),
        (REINIT, reinit, "list", "pods"),
    ] {
        api.allow_all();
        api.deny(verb, plural);
        let Told { progress, problems } = told(host.invoke(action, &orders(&more)).await?).await?;
        let lacking = format!("  {verb} on {plural} (");
        for part in ["Nothing was changed", "kind: Role", &lacking] {
            ensure!(problems.len() == 1 && problems[0].contains(part), "{action}: {part}: {problems:?}");
        }
        ensure!(progress.is_empty(), "{action}: {progress:?}");
    }
    let is_write = |one: &String| !one.starts_with("GET ") && !one.contains("/authorization.k8s.io/");
    assert_eq!(api.requests().into_iter().filter(is_write).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(api.object(&format!("{SECRETS}/orders-app")), Some(old));
    assert_eq!(desired(&api)?.0.generation, 3);
    Ok(())
}

/// Between the Secrets and the wish.
#[tokio::test]
async fn a_rotation_that_is_cut_off_half_way_says_what_is_written() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api)?;
    api.refuse(
        "/configmaps/orders-desired",
        js!({ "code": 403, "reason": "Forbidden", "message": "no, says a test" }),
    );
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let given = orders(&js!({ "roles": ["app"] }));
    let Told { problems, .. } = told(host.invoke(ROTATE, &given).await?).await?;
    for part in ["New passwords are in the Secrets", "no, says a test", "orders-app", "Run the action again"]
    {
        ensure!(problems.len() == 1 && problems[0].contains(part), "{part}: {problems:?}");
    }
    Ok(())
}
