//! What postgres reads: rendered whole from the desired document, never edited, and kept outside PGDATA, so that
//! neither a clone nor pg_rewind brings another member's along (A19, A23, A28).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pgha_agent_core::observation::Upstream;
use pgha_schema::desired::Desired;
use pgha_schema::ids::MemberId;
use pgha_schema::names::ROLE_REPLICATION;
use pgha_schema::parameters::{HOT_STANDBY_SENSITIVE, may_be_set, sensitive_default};
use pgha_schema::status::{Acknowledged, FailedStarts};

use super::fallback;

/// The file that postgres is started with.
pub const MAIN_FILE: &str = "postgresql.conf";
/// The file with `synchronous_standby_names`.
pub const SYNC_FILE: &str = "sync.conf";
/// The file with whom a standby follows.
pub const UPSTREAM_FILE: &str = "upstream.conf";
/// The client authentication file.
pub const HBA_FILE: &str = "pg_hba.conf";
/// The user name maps: none.
pub const IDENT_FILE: &str = "pg_ident.conf";

/// Defaults of ours that the users' parameters may replace.
const DEFAULTS: [(&str, &str); 8] = [
    // After a crash one call makes the volume safe, not one for each of thousands of files.
    ("recovery_init_sync_method", "syncfs"),
    ("max_wal_senders", "16"),
    ("max_replication_slots", "16"),
    ("max_slot_wal_keep_size", "4GB"),
    ("client_connection_check_interval", "2s"),
    ("tcp_keepalives_idle", "10s"),
    ("tcp_keepalives_interval", "5s"),
    ("tcp_keepalives_count", "3"),
];

/// The same where logical slots are wanted and standbys can keep them: those that are made with `failover` outlive one.
const LOGICAL_DEFAULTS: [(&str, &str); 2] =
    [("sync_replication_slots", "on"), ("hot_standby_feedback", "on")];
/// The first version whose standbys can.
pub const KEEPS_LOGICAL_SLOTS: u32 = 17;

/// Whether consumers of logical slots are to go on at another primary.
pub fn keeps_logical_slots(desired: &Desired) -> bool {
    desired.postgres_major >= KEEPS_LOGICAL_SLOTS
        && desired.parameters.get("wal_level").is_some_and(|level| level.trim() == "logical")
}

/// Settings that only the agent sets; a value given by a user, or by ALTER SYSTEM, does not stand (A19, A28).
pub const OWNED: [&str; 36] = [
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "hba_file",
    "ident_file",
    "config_file",
    "data_directory",
    "wal_log_hints",
    "hot_standby",
    "restart_after_crash",
    "wal_retrieve_retry_interval",
    "wal_sender_timeout",
    "wal_receiver_timeout",
    "wal_receiver_status_interval",
    "tcp_user_timeout",
    "synchronous_standby_names",
    "synchronized_standby_slots",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_target_timeline",
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_min_apply_delay",
    "promote_trigger_file",
    "fsync",
    "full_page_writes",
    "logging_collector",
    "log_destination",
    "cluster_name",
    "ssl",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
];

/// Everything that the main file depends on.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The wish.
    pub desired: &'a Desired,
    /// Its generation and hash.
    pub document: &'a Acknowledged,
    /// The document that this one stands in for, where postgres does not start with that.
    pub instead_of: Option<&'a FailedStarts>,
    /// Directory of the rendered files.
    pub conf_dir: &'a Path,
    /// The unix socket's directory.
    pub sockets: &'a Path,
    /// The port.
    pub port: u16,
    /// The pod, for process titles.
    pub pod: &'a str,
    /// The server's certificate, in a pod that has one.
    pub certificate: Option<CertificateFiles>,
    /// On a standby: the control file's values, which a start must not undercut.
    pub floor: Option<&'a BTreeMap<&'static str, u64>>,
}

/// Where the server's certificate lies.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that clients' certificates must come from, when they are asked for any.
    pub clients: Option<PathBuf>,
}

/// The main file, and whether a wanted value is held back by the control file.
pub fn render(inputs: &Inputs<'_>) -> (String, bool) {
    let mut settings: BTreeMap<String, String> =
        DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    // The wal_level that failover needs; `logical` is more and may be asked for.
    settings.insert("wal_level".to_owned(), "replica".to_owned());
    if keeps_logical_slots(inputs.desired) {
        for (name, value) in LOGICAL_DEFAULTS {
            settings.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in &inputs.desired.parameters {
        // Names are not quoted in the file, and PostgreSQL does not mind their case.
        let name = name.to_ascii_lowercase();
        if may_be_set(&name) {
            settings.insert(name, value.clone());
        }
    }
    if !matches!(settings["wal_level"].as_str(), "replica" | "logical") {
        settings.insert("wal_level".to_owned(), "replica".to_owned());
    }
    let held_back = raise_to_floor(&mut settings, inputs.floor);

    let mut text = format!(
        "# desired: {} {}\n{}# Written by pgha-agent; edits are overwritten.\n",
        inputs.document.generation,
        inputs.document.sha256,
        inputs.instead_of.map(fallback::line).unwrap_or_default()
    );
    for (name, value) in &settings {
        text.push_str(&format!("{name} = {}\n", quoted(value)));
    }
    text.push_str("\n# Owned by the cluster.\n");
    let path = |name: &str| inputs.conf_dir.join(name).to_string_lossy().into_owned();
    let mut owned = vec![
        ("listen_addresses", "*".to_owned()),
        ("port", inputs.port.to_string()),
        ("unix_socket_directories", inputs.sockets.to_string_lossy().into_owned()),
        ("hba_file", path(HBA_FILE)),
        ("ident_file", path(IDENT_FILE)),
        ("cluster_name", inputs.pod.to_owned()),
        ("hot_standby", "on".to_owned()),
        ("wal_log_hints", "on".to_owned()),
        ("fsync", "on".to_owned()),
        ("full_page_writes", "on".to_owned()),
        ("restart_after_crash", "off".to_owned()),
        ("recovery_target_timeline", "latest".to_owned()),
        ("wal_retrieve_retry_interval", "100ms".to_owned()),
        ("wal_sender_timeout", "5s".to_owned()),
        ("wal_receiver_timeout", "5s".to_owned()),
        ("wal_receiver_status_interval", "1s".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
    ];
    owned.extend(encryption(inputs.certificate.as_ref()));
    for (name, value) in owned {
        text.push_str(&format!("{name} = {}\n", quoted(&value)));
    }
    for file in [SYNC_FILE, UPSTREAM_FILE] {
        text.push_str(&format!("include = {}\n", quoted(&path(file))));
    }
    (text, held_back)
}

/// Names of the wish that are left out: no names of settings, or the cluster's own. The provider lets none of them through, so
/// somebody wrote the document by hand.
pub fn left_out(desired: &Desired) -> Vec<&str> {
    let names = desired.parameters.keys().map(String::as_str);
    names.filter(|name| !may_be_set(&name.to_ascii_lowercase())).collect()
}

/// Empty settings would be those that PostgreSQL looks for in PGDATA.
fn encryption(files: Option<&CertificateFiles>) -> Vec<(&'static str, String)> {
    let Some(files) = files else { return vec![("ssl", "off".to_owned())] };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    vec![
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", path(&files.certificate)),
        ("ssl_key_file", path(&files.key)),
        ("ssl_ca_file", files.clients.as_deref().map(path).unwrap_or_default()),
    ]
}

/// Raises what the control file demands; tells whether anything was.
fn raise_to_floor(
    settings: &mut BTreeMap<String, String>,
    floor: Option<&BTreeMap<&'static str, u64>>,
) -> bool {
    let Some(floor) = floor else { return false };
    let mut raised = false;
    for name in HOT_STANDBY_SENSITIVE {
        let set = settings.get(name).and_then(|value| value.trim().parse().ok());
        let Some(wanted) = set.or_else(|| sensitive_default(name)) else { continue };
        if let Some(&least) = floor.get(name)
            && least > wanted
        {
            settings.insert(name.to_owned(), least.to_string());
            raised = true;
        }
    }
    raised
}

/// The document that a rendered file came from.
pub fn document_of(text: &str) -> Option<Acknowledged> {
    let (generation, sha256) = text.lines().next()?.strip_prefix("# desired: ")?.split_once(' ')?;
    Some(Acknowledged { generation: generation.parse().ok()?, sha256: sha256.to_owned() })
}

/// The file with `synchronous_standby_names`. `slots`, of those that confirm: a consumer of a logical slot is told nothing that
/// they have not flushed, so that no new primary lacks what a consumer has; `None` where no logical slot outlives a failover.
pub fn render_sync(names: &str, slots: Option<&[String]>) -> String {
    let mut text = format!("synchronous_standby_names = {}\n", quoted(names));
    if let Some(slots) = slots {
        text.push_str(&format!("synchronized_standby_slots = {}\n", quoted(&slots.join(", "))));
    }
    text
}

/// What a standby asks of its own walsender. One that is suspended takes nothing and closes nothing: the walsender waits in the
/// socket, where no signal ends it, and a checkpoint that would drop the slot waits for the walsender, for ever.
const STREAM_OPTIONS: &str = "options=-ctcp_user_timeout=10s";

/// Ends the line that says whom a standby follows, when that is reached encrypted or not at all.
const ENCRYPTED: &str = " encrypted";

/// How another member's postgres is reached for replication.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    /// The port, the same on every member.
    pub port: u16,
    /// File with the replication role's password.
    pub passfile: &'a Path,
}

impl Link<'_> {
    /// A connection string; a peer that vanished is noticed within seconds (A28).
    pub fn conninfo(&self, to: &Upstream, application_name: &str) -> String {
        let value = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        // Channel binding proves that the other end knows the password's verifier, so no authority is asked, and an expired
        // certificate stops no replication (decision 0052).
        let encryption =
            if to.encrypted { "sslmode=require channel_binding=require" } else { "sslmode=prefer" };
        format!(
            "host={} port={} user={ROLE_REPLICATION} passfile={} application_name={} dbname=postgres \
             connect_timeout=3 keepalives=1 keepalives_idle=2 keepalives_interval=1 keepalives_count=3 \
             tcp_user_timeout=5000 {encryption} gssencmode=disable",
            value(&to.address),
            self.port,
            value(&self.passfile.to_string_lossy()),
            value(application_name),
        )
    }

    /// The file that says whom a standby follows; empty settings: nobody.
    pub fn render_upstream(&self, upstream: Option<&Upstream>, own: &MemberId, slot: &str) -> String {
        let Some(upstream) = upstream else {
            return "primary_conninfo = ''\nprimary_slot_name = ''\n".to_owned();
        };
        format!(
            "# upstream: {} {} {} {}{}\nprimary_conninfo = {}\nprimary_slot_name = {}\n",
            upstream.pod,
            upstream.address,
            upstream.member,
            upstream.era,
            if upstream.encrypted { ENCRYPTED } else { "" },
            quoted(&format!("{} {STREAM_OPTIONS}", self.conninfo(upstream, own.as_str()))),
            quoted(slot),
        )
    }
}

/// Whom a rendered file follows.
pub fn upstream_of(text: &str) -> Option<Upstream> {
    let mut words = text.lines().next()?.strip_prefix("# upstream: ")?.split(' ');
    Some(Upstream {
        pod: words.next()?.to_owned(),
        address: words.next()?.to_owned(),
        member: MemberId::new(words.next()?),
        era: pgha_schema::ids::Era(words.next()?.parse().ok()?),
        encrypted: words.next() == Some(ENCRYPTED.trim()),
    })
}

/// Whether a setting, in lower case, is the cluster's or one that the desired document rules.
pub fn is_ruled(name: &str, ruled: &BTreeSet<String>) -> bool {
    OWNED.contains(&name) || ruled.contains(name)
}

/// postgresql.auto.conf without the settings that are the cluster's or that the desired document rules; `None`: nothing
/// to remove.
pub fn cleaned_auto_conf(text: &str, ruled: &BTreeSet<String>) -> Option<String> {
    let stands = |line: &&str| {
        let Some((name, _)) = line.split_once('=') else { return true };
        !is_ruled(&name.trim().to_ascii_lowercase(), ruled)
    };
    let kept: Vec<&str> = text.lines().filter(stands).collect();
    (kept.len() != text.lines().count()).then(|| kept.join("\n") + "\n")
}

/// A value as the configuration file wants it.
fn quoted(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
    format!("'{value}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_schema::desired::{BootstrapSpec, Credentials, Durability, FailoverSpec, RunState, SyncMode};
    use pgha_schema::ids::Era;

    fn desired(parameters: &[(&str, &str)]) -> Desired {
        Desired {
            format: 1,
            generation: 7,
            anchor_uid: "uid".into(),
            state: RunState::Running,
            replicas: 2,
            sync_mode: SyncMode::Sync,
            sync_replicas: 1,
            durability: Durability::Preferred,
            postgres_major: 18,
            template_hash: "t".into(),
            agent: None,
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            pg_hba: Vec::new(),
            tls: None,
            bootstrap: BootstrapSpec {
                database: "app".into(),
                owner: "app".into(),
                encoding: "UTF8".into(),
                locale: "C.UTF-8".into(),
                data_checksums: true,
            },
            failover: FailoverSpec::default(),
            requests: Vec::new(),
            credentials: Credentials::default(),
            break_glass: None,
            taken_back: BTreeSet::new(),
        }
    }

    fn rendered(desired: &Desired, floor: Option<&BTreeMap<&'static str, u64>>) -> (String, bool) {
        let document = Acknowledged { generation: 7, sha256: "abc".into() };
        render(&Inputs {
            desired,
            document: &document,
            instead_of: None,
            conf_dir: Path::new("/conf"),
            sockets: Path::new("/run"),
            port: 5432,
            pod: "orders-0",
            certificate: None,
            floor,
        })
    }

    fn value_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        text.lines().filter_map(|line| line.strip_prefix(&format!("{name} = "))).collect()
    }

    #[test]
    fn owned_settings_stand_whatever_the_user_says() {
        let (text, _) = rendered(&desired(&[("fsync", "off"), ("port", "1"), ("work_mem", "8MB")]), None);
        assert_eq!(value_of(&text, "fsync"), ["'on'"]);
        assert_eq!(value_of(&text, "port"), ["'5432'"]);
        assert_eq!(value_of(&text, "work_mem"), ["'8MB'"]);
        assert_eq!(document_of(&text), Some(Acknowledged { generation: 7, sha256: "abc".into() }));
    }

    #[test]
    fn names_that_a_person_wrote_otherwise_get_past_nothing() {
        let wish = desired(&[
            ("Recovery_Min_Apply_Delay", "1h"),
            ("restore_command", "true"),
            ("FSYNC", "off"),
            ("work_mem = '1MB'\nfsync", "off"),
            ("Maintenance_Work_Mem", "8MB"),
            ("auto_explain.log_analyze", "on"),
        ]);
        let (text, _) = rendered(&wish, None);
        assert_eq!(value_of(&text, "fsync"), ["'on'"]);
        assert_eq!(value_of(&text, "maintenance_work_mem"), ["'8MB'"]);
        assert_eq!(value_of(&text, "auto_explain.log_analyze"), ["'on'"]);
        let lower = text.to_ascii_lowercase();
        for name in ["recovery_min_apply_delay", "restore_command", "work_mem = '1mb'"] {
            assert!(!lower.lines().any(|line| line.starts_with(name)), "{name}: {text}");
        }
        let left_out = super::left_out(&wish);
        assert_eq!(
            left_out,
            ["FSYNC", "Recovery_Min_Apply_Delay", "restore_command", "work_mem = '1MB'\nfsync"]
        );
    }

    #[test]
    fn whatever_the_agent_sets_itself_is_left_out_of_the_wish() {
        for name in OWNED {
            assert!(!may_be_set(name), "{name}");
        }
    }

    #[test]
    fn standbys_keep_logical_slots_where_they_are_wanted_and_can_be() {
        let on = |desired: &Desired| value_of(&rendered(desired, None).0, "sync_replication_slots").len();
        let logical = desired(&[("wal_level", "logical")]);
        assert_eq!(on(&logical), 1);
        assert_eq!(on(&desired(&[])), 0);
        assert_eq!(on(&Desired { postgres_major: 16, ..logical }), 0);
        let (text, _) =
            rendered(&desired(&[("wal_level", "logical"), ("hot_standby_feedback", "off")]), None);
        assert_eq!(value_of(&text, "hot_standby_feedback"), ["'off'"]);
    }

    #[test]
    fn consumers_wait_for_the_slots_of_those_that_confirm() {
        let slots = ["pgha_1".to_owned(), "pgha_2".to_owned()];
        let text = render_sync("ANY 1 (m1, m2)", Some(&slots));
        assert_eq!(value_of(&text, "synchronous_standby_names"), ["'ANY 1 (m1, m2)'"]);
        assert_eq!(value_of(&text, "synchronized_standby_slots"), ["'pgha_1, pgha_2'"]);
        assert_eq!(value_of(&render_sync("", Some(&[])), "synchronized_standby_slots"), ["''"]);
        // PostgreSQL before 17 would refuse to start.
        assert!(!render_sync("FIRST 1 (m1)", None).contains("slots"));
    }

    #[test]
    fn every_setting_written_as_owned_is_listed_as_owned() {
        let (text, _) = rendered(&desired(&[]), None);
        let owned = text.split_once("# Owned by the cluster.\n").unwrap().1;
        for line in owned.lines().filter(|line| !line.starts_with("include")) {
            let name = line.split_once(" = ").unwrap().0;
            assert!(OWNED.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_wal_level_too_low_for_failover_is_raised() {
        assert_eq!(
            value_of(&rendered(&desired(&[("wal_level", "minimal")]), None).0, "wal_level"),
            ["'replica'"]
        );
        assert_eq!(
            value_of(&rendered(&desired(&[("wal_level", "logical")]), None).0, "wal_level"),
            ["'logical'"]
        );
    }

    #[test]
    fn values_are_quoted_so_that_they_stay_one_value() {
        let (text, _) = rendered(&desired(&[("application_name", "it's\\ a\nport = 1")]), None);
        assert_eq!(value_of(&text, "application_name"), ["'it''s\\\\ a\\nport = 1'"]);
        assert_eq!(value_of(&text, "port"), ["'5432'"]);
    }

    #[test]
    fn a_standby_starts_with_the_larger_of_wish_and_control_file() {
        let floor = BTreeMap::from([("max_connections", 300), ("max_worker_processes", 4)]);
        let wish = desired(&[("max_connections", "50")]);
        let (text, held_back) = rendered(&wish, Some(&floor));
        assert_eq!(value_of(&text, "max_connections"), ["'300'"]);
        assert!(held_back && value_of(&text, "max_worker_processes").is_empty());
        let (text, held_back) = rendered(&wish, None);
        assert_eq!((value_of(&text, "max_connections"), held_back), (vec!["'50'"], false));
    }

    #[test]
    fn whom_a_standby_follows_comes_back_from_its_file() {
        let upstream = upstream(false);
        let text = link().render_upstream(Some(&upstream), &MemberId::new("mcd"), "pgha_0");
        assert_eq!(upstream_of(&text).as_ref(), Some(&upstream));
        assert!(text.contains("application_name=''mcd''"), "{text}");
        assert!(text.contains(STREAM_OPTIONS), "{text}");
        assert!(!link().conninfo(&upstream, "mcd").contains(STREAM_OPTIONS), "a slow clone is not cut off");
        assert!(text.contains("primary_slot_name = 'pgha_0'"));
        let none = link().render_upstream(None, &MemberId::new("mcd"), "pgha_0");
        assert_eq!((upstream_of(&none), none.starts_with("primary_conninfo = ''")), (None, true));
    }

    #[test]
    fn a_member_with_a_certificate_is_reached_encrypted_or_not_at_all() {
        let conninfo = |encrypted| link().conninfo(&upstream(encrypted), "mcd");
        assert!(conninfo(true).contains(" sslmode=require channel_binding=require "), "{}", conninfo(true));
        assert!(
            conninfo(false).contains(" sslmode=prefer "),
            "while certificates come, one end may have none"
        );
        let text = link().render_upstream(Some(&upstream(true)), &MemberId::new("mcd"), "pgha_0");
        assert_eq!(upstream_of(&text), Some(upstream(true)));
    }

    fn link() -> Link<'static> {
        Link { port: 5432, passfile: Path::new("/run/pass") }
    }

    fn upstream(encrypted: bool) -> Upstream {
        Upstream {
            pod: "orders-1".into(),
            address: "10.0.0.1".into(),
            member: MemberId::new("mab"),
            era: Era(3),
            encrypted,
        }
    }

    #[test]
    fn a_certificate_turns_encryption_on_and_clients_are_asked_only_when_that_is_wanted() {
        let document = Acknowledged { generation: 7, sha256: "abc".into() };
        let wish = desired(&[]);
        let text = |clients: Option<PathBuf>| {
            let files = CertificateFiles { certificate: "/run/c".into(), key: "/run/k".into(), clients };
            let inputs = Inputs {
                desired: &wish,
                document: &document,
                instead_of: None,
                conf_dir: Path::new("/conf"),
                sockets: Path::new("/run"),
                port: 5432,
                pod: "orders-0",
                certificate: Some(files),
                floor: None,
            };
            render(&inputs).0
        };
        let plain = text(None);
        assert_eq!(
            (value_of(&plain, "ssl"), value_of(&plain, "ssl_key_file")),
            (vec!["'on'"], vec!["'/run/k'"])
        );
        assert_eq!(value_of(&plain, "ssl_ca_file"), ["''"]);
        assert_eq!(value_of(&text(Some("/run/a".into())), "ssl_ca_file"), ["'/run/a'"]);
        for line in plain.lines().filter(|line| line.starts_with("ssl")) {
            assert!(OWNED.contains(&line.split_once(" = ").unwrap().0), "{line}");
        }
        assert_eq!(value_of(&rendered(&wish, None).0, "ssl"), ["'off'"]);
    }

    #[test]
    fn alter_system_over_the_clusters_settings_is_removed() {
        let text = "# Do not edit this file manually!\nsynchronous_standby_names = ''\nwork_mem = '1MB'\nDateStyle = 'ISO'\njit = 'off'\n";
        let mut wish = desired(&[("work_mem", "8MB")]);
        wish.taken_back.insert("datestyle".to_owned());
        let cleaned = cleaned_auto_conf(text, &wish.ruled()).unwrap();
        assert_eq!(cleaned, "# Do not edit this file manually!\njit = 'off'\n");
        assert_eq!(cleaned_auto_conf(&cleaned, &wish.ruled()), None);
    }
}
