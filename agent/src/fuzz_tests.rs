//! Bytes that nobody meant: everything that the agent reads from outside gets mutilated documents of a corpus. Nothing may crash, and
//! what is read must survive being written and read again. `tests/fuzz/` holds the corpus; an input that once broke something joins
//! it. What `decide` makes of such documents is shown beside it, in `agent/core`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use pgha_agent_core::observation::LeaseSeen;
use pgha_agent_core::{Names as SyncNames, Timing};
use pgha_fuzz::{CASES, comes_back, fuzz, is_written_as_read, read_all};
use pgha_schema::desired::Desired;
use pgha_schema::ids::MemberId;
use pgha_schema::names::{ANNOTATION_RECORD, KEY_DESIRED, Names, secret_key};
use pgha_schema::peer::{Heartbeat, HeartbeatAnswer, PromiseRequest};
use pgha_schema::record::Record;
use pgha_schema::status::{Acknowledged, AgentReport};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::watch::{self, Event, Line};
use crate::api::{client, objects};
use crate::guard::kill::live_parent;
use crate::guard::message::{Lines, Request, State, parse_request, to_line};
use crate::observe::{has_gap, segment_end};
use crate::postgres::conf::{self, Inputs, Link};
use crate::postgres::control_data::ControlData;
use crate::postgres::files::ConfigFiles;
use crate::postgres::refusals::Refusals;
use crate::postgres::{hba, scram, tools};
use crate::rest::auth;
use crate::rest::peers::tests::{board, pair};
use crate::rest::requests::{self, Wish};
use crate::rest::view::{Heard, View};
use crate::secrets::Secrets;
use crate::settings::Layout;
use crate::tls::Certificate;
use crate::volume::Volume;
use crate::world::LeaseCache;

/// Of the corpus' documents.
const ANCHOR: &str = "2f0c1c9e";

/// The corpus of a reader: every file below `fuzz/NAME`.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name))
}

/// The corpus and its mutilated copies; more than the corpus has to be read, and not everything is.
fn some_are_read(name: &str, cases: u32, read: impl Fn(&[u8]) -> bool) {
    let documents = corpus(name);
    let whole = documents.iter().filter(|document| read(document)).count();
    let read = fuzz(documents, cases, read);
    assert!(read > whole.max(1) + cases as usize / 100, "{name}: {whole} are whole, {read} were read");
}

/// The same of a text.
fn some_texts_are_read(name: &str, read: impl Fn(&str) -> bool) {
    some_are_read(name, CASES, |bytes| read(&String::from_utf8_lossy(bytes)));
}

/// A folder that is written thousands of times.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

#[test]
fn objects_of_the_cluster_are_read_or_left_alone() {
    let names = Names::new("db");
    some_are_read("lease", CASES, |bytes| {
        let Some(raw) = json(bytes) else { return false };
        let mut cache = LeaseCache::default();
        cache.take(raw.clone(), ANCHOR, Some(1));
        cache.take(raw, ANCHOR, None);
        let LeaseSeen::Read(read) = cache.seen() else { return false };
        is_written_as_read(&read.record);
        assert!(cache.raw_at(&read.version).is_some());
        true
    });
    // A mutilated record inside a whole Lease: the reader's own words are about the record.
    some_texts_are_read("record", |text| {
        let lease = json!({"metadata": {"uid": "l", "resourceVersion": "1",
                           "annotations": {ANNOTATION_RECORD: text}}});
        let record = objects::record_of(&lease, ANCHOR);
        let Ok(record) = record else { return !record.is_err_and(|why| !why.is_empty()) };
        is_written_as_read(&record);
        true
    });
    some_are_read("status", CASES, |bytes| {
        let Some(status) = json(bytes).and_then(|raw| objects::status_of(&raw)) else { return false };
        is_written_as_read(&status);
        // A later holder's stays; else this takes its place, and is written.
        status.clone().over(&status).is_some_and(|status| comes_back_as(&status))
    });
    some_are_read("pod", CASES, |bytes| {
        json(bytes).is_some_and(|raw| objects::pod_of(&raw, &names).is_some())
    });
    some_are_read("claim", CASES, |bytes| {
        json(bytes).is_some_and(|raw| objects::volume_of(&raw, &names).is_some())
    });
    some_are_read("watch", CASES, |bytes| match watch::parse(bytes) {
        Line::Event(Event::Present(raw) | Event::Gone(raw)) => {
            // Whatever comes is handed to every reader, also what is of another kind.
            let _ = (objects::pod_of(&raw, &names), objects::system_identifier_of(&raw));
            true
        }
        Line::Event(Event::Listed(_)) => unreachable!("a line is no list"),
        Line::Bookmark => true,
        Line::Broken => false,
    });
    some_are_read("refusal", CASES, |bytes| client::refusal(409, bytes).to_string().contains("modified"));
}

fn comes_back_as<T>(document: &T) -> bool
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    is_written_as_read(document);
    true
}

/// What postgres is given because of a document, and what the agent reads of that later.
fn rendered(desired: &Desired, sha256: &str) {
    let document = Acknowledged { generation: desired.generation, sha256: sha256.to_owned() };
    let floor = BTreeMap::from([("max_connections", u64::MAX)]);
    for floor in [None, Some(&floor)] {
        let (text, _) = conf::render(&Inputs {
            desired,
            document: &document,
            instead_of: None,
            conf_dir: Path::new("/c"),
            sockets: Path::new("/s"),
            port: 5432,
            pod: "db-0",
            certificate: None,
            floor,
        });
        assert_eq!(conf::document_of(&text).as_ref(), Some(&document));
    }
    let _ = (conf::left_out(desired), Timing::try_new(&desired.failover));
}

#[test]
fn a_desired_document_is_read_or_refused_and_rendered() {
    let read = |raw: &Value| {
        let Ok(seen) = objects::desired_of(raw, ANCHOR) else { return false };
        is_written_as_read(&seen.document);
        rendered(&seen.document, &seen.sha256);
        true
    };
    some_are_read("desired", CASES, |bytes| json(bytes).is_some_and(|raw| read(&raw)));
    some_texts_are_read("desired-text", |text| read(&json!({"data": {KEY_DESIRED: text}})));
}

#[test]
fn what_other_agents_send_is_read_or_refused() {
    some_are_read("heartbeat", CASES, comes_back::<Heartbeat>);
    some_are_read("promise-request", CASES, comes_back::<PromiseRequest>);
    some_are_read("heartbeat-answer", CASES, comes_back::<HeartbeatAnswer>);
    let report = serde_json::to_vec(&board(None).report).expect("a report");
    assert!(fuzz(vec![report], CASES, comes_back::<AgentReport>) > 50);
    some_are_read("wish", CASES, |bytes| {
        let Ok(wish) = serde_json::from_slice::<Wish>(bytes) else { return false };
        for path in ["/switchover", "/restart", "/reinit", "/pause", "/resume"] {
            let asked = requests::asked(path, &wish, "db-0").expect("one of the paths");
            let request = pgha_schema::request::Request { id: "r1".to_owned(), asked };
            let again = requests::asked(path, &Wish::of(&request), "db-1");
            assert_eq!(again.as_ref(), Some(&request.asked), "sent on, it is the same");
        }
        comes_back::<Wish>(bytes)
    });
}

#[test]
fn a_signature_fits_what_was_signed_and_nothing_else() {
    let key = b"0123456789abcdef";
    let header = auth::sign(key, 1_000, "POST", "/restart", b"{}");
    let told = auth::tell_clock(key, 90_000, "/restart", &header);
    let taken = fuzz(vec![header.clone().into_bytes()], CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let good = auth::verify(key, 1_000, "POST", "/restart", b"{}", Some(&text)).is_ok();
        assert!(!good || text.eq_ignore_ascii_case(&header), "{text}");
        good
    });
    let clocks = fuzz(vec![told.clone().into_bytes()], CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let there = auth::told_clock(key, "/restart", &header, &text);
        assert!(there.is_none() || text.eq_ignore_ascii_case(&told), "{text}");
        there.is_some()
    });
    assert!(taken >= 1 && clocks >= 1, "{taken} {clocks}");
}

/// Sends the bytes as they are and reads until the other side ends; it does when there is no `more` to come.
async fn exchange(at: SocketAddr, bytes: &[u8], more: bool) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(bytes).await?;
    if !more {
        stream.shutdown().await?;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[test]
fn every_request_is_answered_or_ended_and_the_next_one_too() {
    let dir = in_memory();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (shared, _) = runtime.block_on(pair(dir.path(), "00ff"));
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, shared.rest_port));
    // Who ends its side before the answer may get none.
    let answered = fuzz(corpus("http"), CASES / 5, |bytes| {
        let answer = runtime.block_on(exchange(at, bytes, false)).unwrap_or_default();
        answer.starts_with(b"HTTP/1.1 ") && !answer.starts_with(b"HTTP/1.1 400")
    });
    assert!(answered > 10, "{answered}");
    // Bodies that are signed, whatever they hold.
    let lines = crate::rest::client::Lines::default();
    let taken = std::cell::Cell::new(0);
    for (name, path) in
        [("heartbeat", "/heartbeat"), ("wish", "/switchover"), ("promise-request", "/promise")]
    {
        fuzz(corpus(name), CASES / 20, |body| {
            let posted =
                lines.post_signed(at, &[0x00, 0xff], path, &[], body, std::time::Duration::from_secs(5));
            let status = runtime.block_on(posted).expect("an answer").status;
            assert!(status.as_u16() != 401, "it is signed");
            taken.set(taken.get() + usize::from(status.as_u16() != 400));
            true
        });
    }
    assert!(taken.get() > 10, "{}", taken.get());
    let fine = runtime.block_on(exchange(at, &corpus("http")[1], true)).expect("an answer");
    assert!(fine.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&fine));
    drop(shared);
}

/// A folder with one file in it that is written again and again.
fn file_in(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
    path
}

#[test]
fn files_on_the_volume_are_read_or_an_error() {
    let dir = in_memory();
    let layout = Layout {
        volume: dir.path().to_owned(),
        sockets: dir.path().join("run"),
        secrets: dir.path().join("secrets"),
        tls: dir.path().join("tls"),
        binaries: PathBuf::new(),
        agents: dir.path().join("agents"),
    };
    let volume = Volume::new(&layout);
    let reads = |corpus: &str, name: &str, read: &dyn Fn() -> bool| {
        let path = file_in(dir.path(), name);
        some_are_read(corpus, CASES, |bytes| {
            fs::write(&path, bytes).expect("write it");
            read()
        });
    };
    reads("member", "member.json", &|| {
        let Ok(Some(file)) = volume.member() else { return false };
        comes_back_as(&file)
    });
    reads("marker", "marker.json", &|| volume.marker().is_ok_and(|marker| marker.is_some()));
    reads("record", "record.json", &|| {
        let Ok(Some(record)) = volume.kept_record() else { return false };
        comes_back_as::<Record>(&record)
    });
    reads("promise", "promise.json", &|| {
        let Ok(Some(promise)) = volume.promise() else { return false };
        comes_back_as(&promise)
    });
    reads("version", "pgdata/PG_VERSION", &|| volume.postgres_major().is_ok_and(|major| major.is_some()));
    reads("history", "pgdata/pg_wal/00000004.history", &|| {
        volume.timeline_start(4).is_ok_and(|start| start > pgha_schema::lsn::Lsn::ZERO)
    });
}

#[test]
fn rendered_files_are_read_again_or_are_none_of_ours() {
    let dir = in_memory();
    let files = ConfigFiles::open(dir.path().to_owned()).expect("a folder");
    let accepted = file_in(dir.path(), "accepted.json");
    some_are_read("accepted", CASES, |bytes| {
        fs::write(&accepted, bytes).expect("write it");
        files.accepted().is_some_and(|accepted| comes_back_as(&accepted))
    });
    some_texts_are_read("main-conf", |text| {
        files.set_main(text).expect("write it");
        let instead = files.instead_of();
        if let Some(failed) = &instead {
            let again = format!("{}\n{}", text.lines().next().unwrap_or_default(), conf_line(failed));
            assert_eq!(crate::postgres::fallback::instead_of(&again).as_ref(), Some(failed));
        }
        files.document().is_some() && instead.is_some()
    });
    let link = Link { port: 5432, passfile: Path::new("/p") };
    some_texts_are_read("upstream-conf", |text| {
        let Some(upstream) = conf::upstream_of(text) else { return false };
        let again = link.render_upstream(Some(&upstream), &upstream.member, "pgha_0");
        assert_eq!(conf::upstream_of(&again), Some(upstream));
        true
    });
    some_texts_are_read("hba", |text| hba::gate_of(text) == pgha_agent_core::observation::Gate::Closed);
    let ruled = BTreeSet::from(["work_mem".to_owned()]);
    some_texts_are_read("auto-conf", |text| {
        let Some(cleaned) = conf::cleaned_auto_conf(text, &ruled) else { return false };
        assert_eq!(conf::cleaned_auto_conf(&cleaned, &ruled), None, "once is enough");
        true
    });
    some_texts_are_read("names", |text| {
        let names = SyncNames::parse(text);
        let is_id = |member: &MemberId| member.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric());
        // Another's text may name anything: it is never written again.
        let ours = names.members().iter().all(is_id);
        assert!(!ours || SyncNames::parse(&names.to_string()) == names, "{names:?}");
        ours && !names.members().is_empty()
    });
}

fn conf_line(failed: &pgha_schema::status::FailedStarts) -> String {
    crate::postgres::fallback::line(failed)
}

#[test]
fn what_postgres_and_its_programs_print_is_read_or_refused() {
    let ends: Vec<String> = (1..40).map(|number| format!("0000000100000000{number:08X}")).collect();
    some_texts_are_read("control-data", |text| {
        let Ok(data) = ControlData::parse(text) else { return false };
        for name in &ends {
            let _ = segment_end(name, data.segment_bytes);
        }
        let _ = has_gap(ends.iter().cloned(), data.segment_bytes, data.redo_lsn, data.consistent_lsn);
        data.consistent_lsn >= data.redo_lsn
    });
    some_texts_are_read("program-version", |text| tools::major_of(text).is_some());
    some_texts_are_read("stat", |text| live_parent(text).is_some());
    let names: BTreeSet<String> = ["work_mem", "temp_buffers", "max_wals"].map(str::to_owned).into();
    some_texts_are_read("printed", |text| {
        let document = Acknowledged { generation: 7, sha256: "sha7".to_owned() };
        let mut refusals = Refusals::default();
        let problems = BTreeMap::from([("work_mem".to_owned(), "could not be applied".to_owned())]);
        let printed = refusals.running(Some(document), names.clone(), problems, 0).expect("it is new");
        printed.set(text.to_owned()).expect("once");
        let told = refusals.complaints(60_000).refused.expect("it is refused").settings;
        assert!(told.values().all(|words| words.len() < 600), "{told:?}");
        told.len() > 1
    });
    // None is the password's: what is asked is that comparing ends, and soon.
    let fitting =
        fuzz(corpus("verifier"), CASES, |bytes| scram::fits(&String::from_utf8_lossy(bytes), "secret"));
    assert_eq!(fitting, 0);
}

#[test]
fn guard_and_agent_read_each_other_or_refuse() {
    let requests = |bytes: &[u8], piece: usize| {
        let (mut lines, mut read) = (Lines::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            if lines.feed(piece).is_err() {
                break;
            }
            while let Some(line) = lines.next_line() {
                read.push(parse_request(&line));
            }
        }
        read
    };
    some_are_read("guard-request", CASES, |bytes| {
        let whole = requests(bytes, usize::MAX);
        assert_eq!(requests(bytes, 7), whole, "however it arrives");
        let good: Vec<&Request> = whole.iter().flatten().collect();
        for request in &good {
            is_written_as_read(*request);
            assert_eq!(requests(&to_line(*request), 5), [Ok((*request).clone())]);
        }
        !good.is_empty()
    });
    some_are_read("guard-state", CASES, comes_back::<State>);
}

#[test]
fn secrets_are_read_or_an_error() {
    let dir = in_memory();
    let secrets = Secrets::new(dir.path(), dir.path());
    for secret in ["superuser", "app", "internal"] {
        for key in [secret_key::PASSWORD, secret_key::REPLICATION_PASSWORD, secret_key::USERNAME] {
            fs::write(file_in(dir.path(), &format!("{secret}/{key}")), "x").expect("write it");
        }
    }
    let path = file_in(dir.path(), &format!("internal/{}", secret_key::REPLICATION_PASSWORD));
    some_are_read("secret", CASES, |bytes| {
        fs::write(&path, bytes).expect("write it");
        let Ok(passfile) = secrets.passfile() else { return false };
        let line = fs::read_to_string(passfile).expect("a line");
        assert!(line.starts_with("*:*:*:") && line.ends_with('\n'), "{line}");
        secrets.mounted().is_ok()
    });
    fs::write(&path, "x").expect("write it");
    let rotation = file_in(dir.path(), &format!("app/{}", secret_key::ROTATION));
    let key = file_in(dir.path(), &format!("internal/{}", secret_key::AGENT_KEY));
    let [mut numbers, mut keys] = [0; 2].map(std::cell::Cell::new);
    fuzz(corpus("secret"), CASES, |bytes| {
        fs::write(&rotation, bytes).expect("write it");
        fs::write(&key, bytes).expect("write it");
        numbers.set(numbers.get() + usize::from(secrets.mounted().is_ok()));
        keys.set(keys.get() + usize::from(secrets.agent_key().is_ok()));
        true
    });
    assert!(*numbers.get_mut() > 10 && *keys.get_mut() > 10, "{numbers:?} {keys:?}");
}

#[test]
fn a_certificate_is_used_or_refused() {
    let dir = in_memory();
    let (mounted, sockets) = (dir.path().join("mounted"), dir.path().join("sockets"));
    let certificate = Certificate::new(&mounted, &sockets);
    let key = rcgen::KeyPair::generate().expect("a key");
    let made =
        rcgen::CertificateParams::new(vec!["db".to_owned()]).and_then(|params| params.self_signed(&key));
    let (pem, key) = (made.expect("a certificate").pem(), key.serialize_pem());
    let put = |name: &str, bytes: &[u8]| fs::write(file_in(&mounted, name), bytes).expect("write it");
    let mut taken = Vec::new();
    for (name, document) in [("tls.crt", &pem), ("tls.key", &key), ("ca.crt", &pem)] {
        put("tls.crt", pem.as_bytes());
        put("tls.key", key.as_bytes());
        taken.push(fuzz(vec![document.clone().into_bytes()], CASES / 2, |bytes| {
            put(name, bytes);
            certificate.take().is_ok()
        }));
    }
    assert!(taken.iter().all(|taken| *taken > 1), "{taken:?}");
}

#[test]
fn an_agent_on_its_way_is_whole_or_refused() {
    let dir = in_memory();
    let binary = b"#!/bin/sh\nexit 0\n".repeat(20);
    let sha256 = hex::encode(Sha256::digest(&binary));
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(&binary).expect("pack it");
    let packed = writer.finish().expect("pack it");
    let stored = fuzz(vec![packed.clone()], CASES / 2, |bytes| {
        crate::upgrade::store(bytes, &sha256, dir.path()).is_ok()
    });
    assert!(stored > 1, "what is behind its end, or in its header, does not matter: {stored}");
    use base64::Engine as _;
    let chunk =
        json!({"binaryData": {"part-001": base64::engine::general_purpose::STANDARD.encode(&packed)}});
    let chunks = fuzz(vec![chunk.to_string().into_bytes()], CASES, |bytes| {
        json(bytes).is_some_and(|raw| crate::upgrade::chunk_of(&raw).is_ok())
    });
    assert!(chunks > 50, "{chunks}");
}

#[test]
fn what_an_agent_tells_people_is_put_in_words() {
    let whole = |report: AgentReport| View {
        peers: BTreeMap::from([(
            "db-2".to_owned(),
            Heard { silent_ms: Some(1_200), report: Some(report.clone()) },
        )]),
        instance: report,
        record: corpus("record").first().and_then(|bytes| serde_json::from_slice(bytes).ok()),
        record_age_ms: Some(12_000),
        heartbeat_age_ms: Some(900),
        api_age_ms: Some(100),
        degraded_since: None,
    };
    let document = serde_json::to_vec(&whole(board(None).report)).expect("a view");
    let read = fuzz(vec![document], CASES, |bytes| {
        let Ok(view) = serde_json::from_slice::<View>(bytes) else { return false };
        assert!(crate::cli::words::in_words(&view).starts_with("as "));
        true
    });
    assert!(read > 50, "{read}");
}
