//! The settings that the cluster owns, each with the reason that a refusal tells (A19, A28).

/// Names of settings that the agents set, or that would break failover; a name with `*` at its end stands for all that
/// begin so. The second text completes "The cluster sets it itself: ...".
pub const OWNED: [(&str, &str); 47] = [
    ("listen_addresses", "clients and standbys come through the pod's addresses"),
    ("port", "Services and agents count on 5432"),
    ("unix_socket_directories", "the agent connects through its socket"),
    ("unix_socket_permissions", "the agent connects through its socket"),
    ("data_directory", "the data lies in a directory of the volume that the agent looks after"),
    ("config_file", "the agent renders PostgreSQL's configuration"),
    ("hba_file", "the agent renders pg_hba.conf from the attribute pg_hba"),
    ("ident_file", "the agent renders PostgreSQL's configuration"),
    ("external_pid_file", "the agent watches PostgreSQL's own pid file"),
    ("include", "the agent renders the whole configuration, without further files"),
    ("include_dir", "the agent renders the whole configuration, without further files"),
    ("include_if_exists", "the agent renders the whole configuration, without further files"),
    ("cluster_name", "it names the pod in process titles and standbys"),
    ("hot_standby", "standbys answer reads"),
    ("primary_conninfo", "it follows from who leads"),
    ("primary_slot_name", "it follows from who leads"),
    ("synchronous_standby_names", "it follows from sync_mode, sync_replicas and durability"),
    ("synchronized_standby_slots", "slots are named by the agent"),
    ("idle_replication_slot_timeout", "a standby that was away for long would lose its slot"),
    ("restore_command", "standbys follow the primary by streaming"),
    ("archive_cleanup_command", "standbys follow the primary by streaming"),
    ("recovery_end_command", "promotion is the agent's work"),
    ("promote_trigger_file", "promotion is the agent's work"),
    ("recovery_min_apply_delay", "a delayed standby could not take over"),
    ("recovery_target*", "a standby must replay all it has, on the newest timeline"),
    ("restart_after_crash", "after a crash the agent decides who leads"),
    ("fsync", "without it an acknowledged commit may be lost"),
    ("full_page_writes", "without it a crash may leave torn pages"),
    ("wal_log_hints", "pg_rewind needs it"),
    ("wal_retrieve_retry_interval", "standbys must follow a new primary at once"),
    ("wal_sender_timeout", "lost standbys must be noticed in time"),
    ("wal_receiver_timeout", "a lost primary must be noticed in time"),
    ("wal_receiver_status_interval", "a lost primary must be noticed in time"),
    ("tcp_user_timeout", "a lost peer must be noticed in time"),
    ("logging_collector", "logs go to the container's standard error, for kubectl logs"),
    ("log_destination", "logs go to the container's standard error, for kubectl logs"),
    ("ssl", "it follows from the attribute tls"),
    ("ssl_*_file", "the agent keeps the files, from the Secret that tls names"),
    ("ssl_crl_dir", "the agent keeps the files, from the Secret that tls names"),
    ("zero_damaged_pages", "it destroys data; a damaged instance is made anew from another one"),
    ("ignore_checksum_failure", "it hides damage; a damaged instance is made anew from another one"),
    ("ignore_system_indexes", "it is for repairs by hand"),
    ("allow_system_table_mods", "it is for repairs by hand"),
    ("transaction_read_only", "it belongs to a transaction"),
    ("role", "it belongs to a session"),
    ("session_authorization", "it belongs to a session"),
    ("is_superuser", "it belongs to a session"),
];

/// Settings that PostgreSQL shows but that nobody can set.
const PRESET: [&str; 22] = [
    "block_size",
    "data_checksums",
    "data_directory_mode",
    "debug_assertions",
    "huge_pages_status",
    "in_hot_standby",
    "integer_datetimes",
    "lc_collate",
    "lc_ctype",
    "max_function_args",
    "max_identifier_length",
    "max_index_keys",
    "num_os_semaphores",
    "segment_size",
    "server_encoding",
    "server_version",
    "server_version_num",
    "shared_memory_size",
    "shared_memory_size_in_huge_pages",
    "ssl_library",
    "wal_block_size",
    "wal_segment_size",
];

/// Why the cluster sets this itself; `None`: users may set it. Its letters' case does not matter.
pub fn owned_because(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    if PRESET.contains(&name.as_str()) {
        return Some("it is fixed when PostgreSQL or the database is made");
    }
    let stands_for = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    };
    OWNED.iter().find(|(pattern, _)| stands_for(pattern)).map(|(_, reason)| *reason)
}
