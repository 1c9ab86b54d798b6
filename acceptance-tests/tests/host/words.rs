//! Values that mean something to some attribute, and others that mean nothing to any. Which attribute takes which is learned
//! from the provider (`learn.rs`), so that a new attribute is covered as soon as a word here suits it.

/// Spellings of one quantity.
pub const QUANTITIES: [&[&str]; 5] = [
    &["1Gi", "1024Mi", "1073741824"],
    &["2Gi", "2048Mi", "2147483648"],
    &["10Gi", "10240Mi"],
    &["16Mi", "16384Ki"],
    &["500m", "0.5"],
];

/// Spellings of one duration.
pub const DURATIONS: [&[&str]; 7] = [
    &["2s", "2000ms"],
    &["3s", "3000ms"],
    &["6s", "6000ms"],
    &["10s", "10000ms"],
    &["20s", "0m20s"],
    &["1m", "60s"],
    &["15m", "900s"],
];

/// Texts that some attribute takes.
pub const WORDS: [&str; 41] = [
    "18",
    "18.1",
    "17",
    "16.9",
    "app",
    "shop",
    "orders",
    "team",
    "sync",
    "async",
    "quorum",
    "required",
    "preferred",
    "none",
    "auto",
    "restart",
    "failover",
    "LoadBalancer",
    "ClusterIP",
    "NodePort",
    "IfNotPresent",
    "Always",
    "Never",
    "Equal",
    "Exists",
    "NoSchedule",
    "NoExecute",
    "docker.io/library/postgres:18",
    "registry.example.com/own:18",
    "host all all all md5",
    "host all all 10.0.0.0/8 scram-sha-256",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "2001:db8::/32",
    "UTF8",
    "LATIN1",
    "C",
    "C.UTF-8",
    "16MB",
    "on",
    "200",
];

/// Texts that hardly any attribute takes.
pub const NONSENSE: [&str; 16] = [
    "",
    " ",
    "Not A Name",
    "-x",
    "x\ny",
    "\u{0}",
    "\u{1f418}\u{0301}",
    "../../etc/passwd",
    "template0",
    "99999999999999999999999999999999999999999999Gi",
    "-1s",
    "1e999999",
    "15.0",
    "${var.name}",
    "host",
    "a.very.long.name.that.goes.on.and.on.and.on.and.on.and.on.and.on.and.on.and.on.and.on.and.on.and.on",
];

/// Keys of maps.
pub const KEYS: [&str; 9] = [
    "team",
    "example.com/team",
    "work_mem",
    "max_connections",
    "cpu",
    "memory",
    "primary_conninfo",
    "pgha/own",
    "Bad Key!",
];

/// Values in maps, with other spellings.
pub const MAP_VALUES: [&[&str]; 7] =
    [&["team"], &["16MB"], &["200", "300"], &["1Gi", "1024Mi", "2Gi"], &["500m", "0.5"], &["on"], &["x\ny"]];

/// Numbers.
pub const NUMBERS: [i64; 14] = [0, 1, 2, 3, 5, 9, 10, 70, 999, 65_535, -1, i64::MAX, i64::MIN, 4_294_967_295];
