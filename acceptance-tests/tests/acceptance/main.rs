//! Acceptance tests: the real CLI, the built provider, a real Kubernetes, a real PostgreSQL. docs/testing.md tells how to run them.

// Cases have one signature, whether they wait or not.
#![allow(clippy::print_stdout, clippy::unused_async, missing_docs)]

mod actions;
mod agents_rights;
mod aliases;
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
    let drift = || {
        [reading::cases(), drift::cases(), getting_in::cases(), aliases::cases(), objects::cases(), reports()]
            .concat()
    };
    let create = || [create::cases(), waiting::cases(), rights::cases()].concat();
    let standard = || [standard::cases(), foretold::cases()].concat();
    // The longest ones first, so that no lane is left with one at the end.
    let mut plans = vec![
        plan("standard", standard()),
        plan("online", online::cases()),
        plan("drift", drift()),
        plan("upgrade", [upgrade::cases(), agents_rights::cases()].concat()),
        plan("package", [package::cases(), examples::cases()].concat()),
        plan("actions", actions::cases()),
        plan("protection", protection::cases()),
        plan("postgres15", [versions::cases_15(), tls::cases()].concat()),
        plan("import", import::cases()),
        plan("storage", storage::cases()),
        plan("replicas", replicas::cases()),
        plan("quickstart", quickstart::cases()),
        plan("postgres16", versions::cases_16()),
        plan("create", create()),
        plan("modes", [modes::cases(), lag::cases()].concat()),
        plan("handles", [handles::cases(), strangers::cases()].concat()),
        plan("faults", matrix()),
        plan("clocks", clocks::cases()),
    ];
    // For as long as somebody asks for it: `cargo dev chaos`.
    if chaos_minutes() > 0 {
        plans.push(plan("chaos", chaos::cases()));
    }
    if tofu_wanted() {
        plans.splice(
            0..0,
            [
                with_tofu("standard", standard()),
                with_tofu("online", online::cases()),
                with_tofu("package", package::cases()),
                with_tofu("replicas", replicas::cases()),
                with_tofu("quickstart", quickstart::cases()),
            ],
        );
    }
    if tofu_wanted_everywhere() {
        plans.splice(
            0..0,
            [
                with_tofu("drift", drift()),
                with_tofu("create", create()),
                with_tofu("protection", protection::cases()),
                with_tofu("import", import::cases()),
                with_tofu("storage", storage::cases()),
            ],
        );
    }
    let enabled = std::env::var("PGHA_ACCEPTANCE").is_ok_and(|value| value == "1");
    if !enabled {
        println!("acceptance tests need PGHA_ACCEPTANCE=1 (and root): `cargo dev test` sets it");
    }
    runner::run(&arguments, enabled, plans).exit();
}
