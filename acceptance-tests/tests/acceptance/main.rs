//! Acceptance tests: the real CLI, the built provider, a real Kubernetes, a real PostgreSQL. docs/testing.md tells how to run them.

// Cases have one signature, whether they wait or not.
#![allow(clippy::print_stdout, clippy::unused_async, missing_docs)]

mod actions;
mod agents_rights;
mod api_server;
mod bed;
mod bench;
mod chaos;
mod ci_jobs;
mod clocks;
mod create;
mod drift;
mod examples;
mod faults;
mod foretold;
mod getting_in;
mod group;
mod growth;
mod handles;
mod import;
mod lag;
mod members;
mod modes;
mod network;
mod objects;
mod online;
mod package;
mod processes;
mod protection;
mod quickstart;
mod reading;
mod replicas;
mod report;
mod report_sensitive;
mod rights;
mod runner;
mod scene;
mod standard;
mod storage;
mod strangers;
mod throttle;
mod tls;
mod upgrade;
mod versions;
mod waiting;
mod workloads;

use libtest_mimic::Arguments;

use crate::bed::{FIRST_CLI, TOFU, chaos_minutes, tofu_wanted, tofu_wanted_everywhere};
use crate::runner::{Case, Plan};

/// Faults of a cluster that all of them share.
fn matrix() -> Vec<Case> {
    [
        faults::cases(),
        processes::cases(),
        members::cases(),
        network::cases(),
        api_server::cases(),
        throttle::cases(),
        bench::cases(),
    ]
    .concat()
}

fn main() {
    let arguments = Arguments::from_args();
    let plan = |group: &str, cases: Vec<Case>| Plan { group: group.to_owned(), cli: FIRST_CLI, cases };
    let with_tofu = |group: &str, cases: Vec<Case>| Plan { group: format!("{group}.tofu"), cli: TOFU, cases };
    // The last case of the second leaves a cluster that is gone.
    let reports = || [ci_jobs::cases(), report_sensitive::cases(), report::cases()].concat();
    let drift =
        || [reading::cases(), drift::cases(), getting_in::cases(), objects::cases(), reports()].concat();
    let create = || [create::cases(), waiting::cases(), rights::cases()].concat();
    let standard = || [standard::cases(), foretold::cases()].concat();
    let mut left = vec![
        plan("quickstart", quickstart::cases()),
        plan("protection", protection::cases()),
        plan("import", import::cases()),
        plan("drift", drift()),
        plan("postgres15", [versions::cases_15(), tls::cases()].concat()),
        plan("faults", matrix()),
        plan("standard", standard()),
    ];
    let mut right = vec![
        plan("online", online::cases()),
        plan("replicas", replicas::cases()),
        plan("modes", [modes::cases(), lag::cases()].concat()),
        plan("create", create()),
        plan("package", [package::cases(), examples::cases()].concat()),
        plan("storage", storage::cases()),
        plan("upgrade", [upgrade::cases(), agents_rights::cases()].concat()),
        plan("handles", [handles::cases(), strangers::cases()].concat()),
        plan("actions", actions::cases()),
        plan("clocks", clocks::cases()),
        plan("postgres16", versions::cases_16()),
    ];
    // For as long as somebody asks for it: `cargo dev chaos`.
    if chaos_minutes() > 0 {
        left.push(plan("chaos", chaos::cases()));
    }
    if tofu_wanted() {
        right.push(with_tofu("quickstart", quickstart::cases()));
        right.push(with_tofu("replicas", replicas::cases()));
        right.push(with_tofu("package", package::cases()));
        left.insert(2, with_tofu("online", online::cases()));
    }
    if tofu_wanted_everywhere() {
        left.push(with_tofu("protection", protection::cases()));
        left.push(with_tofu("import", import::cases()));
        left.push(with_tofu("drift", drift()));
        right.push(with_tofu("create", create()));
        right.push(with_tofu("standard", standard()));
        right.push(with_tofu("storage", storage::cases()));
    }
    let enabled = std::env::var("PGHA_ACCEPTANCE").is_ok_and(|value| value == "1");
    if !enabled {
        println!("acceptance tests need PGHA_ACCEPTANCE=1 (and root): `cargo dev test` sets it");
    }
    runner::run(&arguments, enabled, vec![left, right]).exit();
}
