//! Rules between attributes, and rules that need the whole value.

use pgha_schema::duration::Duration;
use pgha_schema::parameters;
use pgha_schema::quantity::Quantity;
use pgha_schema::resource::schema;
use pgha_schema::spec::check_timing;

use super::{image, network, report};
use crate::diagnostic::Diagnostics;
use crate::path::Path;
use crate::value::Value;

/// Below it PostgreSQL's own files don't fit.
const SMALLEST_VOLUME: &str = "64Mi";
/// Below it `max_wal_size` alone (1 GB by default) can fill the volume.
const COMFORTABLE_VOLUME: &str = "1Gi";

/// A block with its defaults at hand.
pub(super) struct Config<'a>(pub(super) &'a Value);

impl Config<'_> {
    /// The value at a path of attributes; where config has none, its default.
    pub(super) fn get(&self, path: &str) -> Value {
        let value = self.0.get(path);
        if !value.is_null() {
            return value.clone();
        }
        let attribute = schema().attribute(path);
        let default = attribute.and_then(|one| Some(Value::from_json(&one.default_value()?, &one.ty())));
        default.unwrap_or(Value::Null)
    }

    /// The known text at a path.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.get(path).as_str().map(str::to_owned)
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.get(path).as_i64()
    }

    fn duration(&self, path: &str) -> Option<Duration> {
        self.text(path)?.parse().ok()
    }

    fn is_set(&self, path: &str) -> bool {
        !self.0.get(path).is_null()
    }
}

pub(super) fn rules(config: &Value) -> Diagnostics {
    let config = Config(config);
    let mut found = Diagnostics::new();
    timing(&config, &mut found);
    durability(&config, &mut found);
    image::rules(&config, &mut found);
    settings(&config, &mut found);
    storage(&config, &mut found);
    password(&config, &mut found);
    services(&config, &mut found);
    tolerations(&config, &mut found);
    resources(&config, &mut found);
    network::rules(&config, &mut found);
    found
}

fn timing(config: &Config<'_>, found: &mut Diagnostics) {
    let of = |name: &str| config.duration(&format!("failover.{name}"));
    let problems =
        check_timing(of("renew_interval"), of("fence_after"), of("lease_duration"), of("degrade_after"));
    for (path, problem) in problems {
        report(found, Path::of(path), &problem);
    }
}

fn durability(config: &Config<'_>, found: &mut Diagnostics) {
    let (mode, durability) = (config.text("sync_mode"), config.text("durability"));
    let (replicas, sync_replicas) = (config.number("replicas"), config.number("sync_replicas"));
    let sync = matches!(mode.as_deref(), Some("sync" | "quorum"));
    let required = durability.as_deref() == Some("required");
    match (replicas, sync_replicas) {
        (Some(0), Some(needed)) if sync && required => found.error(
            Path::of("replicas"),
            "Too few replicas for durability = \"required\"",
            format!(
                "Each commit waits for {needed} standby, and with replicas = 0 there is none to wait for: the cluster would never \
                 accept a write. Raise replicas to {needed} or more, or choose durability = \"preferred\"."
            ),
        ),
        (Some(replicas), Some(needed)) if sync && needed > replicas.max(1) && needed < 10 => found.error(
            Path::of("sync_replicas"),
            "More synchronous standbys than replicas",
            format!(
                "Each commit is to wait for {needed} standbys, and with replicas = {replicas} there are never so many. Raise \
                 replicas to {needed} or more, or lower sync_replicas to {replicas}."
            ),
        ),
        (Some(replicas), Some(needed)) if sync && required && needed == replicas => found.warning(
            Path::of("durability"),
            "One lost standby stops every write",
            format!(
                "With durability = \"required\" each commit waits for {needed} of {replicas} standbys, so while one of them is \
                 away no write is confirmed, also during its restarts. Raise replicas above sync_replicas to go on."
            ),
        ),
        _ => {}
    }
    if sync && replicas == Some(0) && durability.as_deref() == Some("preferred") {
        found.warning(
            Path::of("replicas"),
            "A cluster of one instance",
            "With replicas = 0 every commit is on one volume only, and a lost node means waiting for it to come back. Raise \
             replicas to 1 or more for failover.",
        );
    }
    if mode.as_deref() == Some("async") && replicas == Some(1) {
        found.warning(
            Path::of("replicas"),
            "One standby, which may lag",
            "In async mode with replicas = 1 a failover can only go to the one standby, however much it lacks, and while it is away \
             every commit is on one volume only. Raise replicas to 2 or more, or choose sync_mode = \"sync\".",
        );
    }
    if mode.as_deref() == Some("async") && config.0.get("failover.max_lag").is_null() {
        found.warning(
            Path::of("sync_mode"),
            "Failover may lose acknowledged commits",
            "In async mode a standby takes over however far it is behind. Set failover.max_lag to bound the loss, or choose \
             sync_mode = \"sync\" or \"quorum\".",
        );
    }
    if sync && config.is_set("failover.max_lag") {
        found.warning(
            Path::of("failover.max_lag"),
            "failover.max_lag has no effect",
            "In the modes sync and quorum only a standby with every acknowledged commit takes over. It is used in async mode.",
        );
    }
}

fn settings(config: &Config<'_>, found: &mut Diagnostics) {
    for (name, value) in config.0.get("parameters").as_entries().into_iter().flatten() {
        let (Some(value), path) = (value.as_str(), Path::of("parameters").key(name)) else { continue };
        if let Err(problem) = parameters::check_value(name, value) {
            report(found, path.clone(), &problem);
        }
        let known = parameters::check_name(name).is_ok();
        if let Some(problem) = parameters::warning(name, value).filter(|_| known) {
            found.warning(path, problem.what, problem.remedy);
        }
    }
}

fn storage(config: &Config<'_>, found: &mut Diagnostics) {
    let quantity = |text: &str| text.parse::<Quantity>().ok();
    let Some(size) = config.text("storage.size").and_then(|text| quantity(&text)) else { return };
    let at_least = |text: &str| quantity(text).is_none_or(|least| size >= least);
    let path = Path::of("storage.size");
    if !at_least(SMALLEST_VOLUME) {
        found.error(
            path,
            "Invalid storage.size",
            format!("PostgreSQL's own files don't fit into {size}. Choose {SMALLEST_VOLUME} or more."),
        );
    } else if !at_least(COMFORTABLE_VOLUME) && !has_parameter(config, "max_wal_size") {
        found.warning(
            path,
            "A small volume",
            format!(
                "WAL alone may take 1 GB (max_wal_size), more than the {size} of the volume. Choose {COMFORTABLE_VOLUME} or \
                 more, or lower parameters.max_wal_size."
            ),
        );
    }
}

fn has_parameter(config: &Config<'_>, name: &str) -> bool {
    match config.0.get("parameters") {
        Value::Unknown => true,
        parameters => parameters.as_entries().is_some_and(|all| all.contains_key(name)),
    }
}

/// A password comes with its number, which alone tells that the password is another one. The number may stand alone: whether
/// it is new, only a plan can tell.
fn password(config: &Config<'_>, found: &mut Diagnostics) {
    let (password, version) = ("superuser_password_wo", "superuser_password_wo_version");
    let given = !matches!(config.0.get(password), Value::Null | Value::Unknown);
    if given && config.0.get(version).is_null() {
        found.error(
            Path::of(password),
            format!("{password} without {version}"),
            format!(
                "The password is in no state, so the provider can't see that it changes. Set {version} = 1, and another number \
                 with each new password."
            ),
        );
    }
}

fn services(config: &Config<'_>, found: &mut Diagnostics) {
    for service in ["rw", "ro", "r"] {
        let path = format!("services.{service}.load_balancer_source_ranges");
        let kind = config.text(&format!("services.{service}.type"));
        if config.is_set(&path) && kind.is_some_and(|kind| kind != "LoadBalancer") {
            found.error(
                Path::of(&path),
                format!("Invalid {path}"),
                format!(
                    "Only a load balancer filters by source. Set services.{service}.type = \"LoadBalancer\", or leave it out."
                ),
            );
        }
    }
}

fn tolerations(config: &Config<'_>, found: &mut Diagnostics) {
    let all = config.0.get("scheduling.tolerations");
    for (index, toleration) in all.as_items().unwrap_or_default().iter().enumerate() {
        let path = Path::of("scheduling.tolerations").index(index);
        let get = |name: &str| toleration.get(name);
        let exists = get("operator").as_str() == Some("Exists");
        if exists && !get("value").is_null() {
            found.error(
                path.attribute("value"),
                format!("Invalid {path}"),
                "With operator = \"Exists\" any value is tolerated. Leave value out, or choose operator = \"Equal\".",
            );
        }
        if get("key").is_null() && !exists && !get("operator").is_unknown() {
            found.error(
                path.attribute("key"),
                format!("Invalid {path}"),
                "Without a key every taint is tolerated, which needs operator = \"Exists\". Set key, or that operator.",
            );
        }
        let effect = get("effect");
        if !get("toleration_seconds").is_null()
            && !effect.is_unknown()
            && effect.as_str() != Some("NoExecute")
        {
            found.error(
                path.attribute("toleration_seconds"),
                format!("Invalid {path}"),
                "Only taints with effect NoExecute end pods after a while. Set effect = \"NoExecute\", or leave it out.",
            );
        }
    }
}

fn resources(config: &Config<'_>, found: &mut Diagnostics) {
    let limits = config.0.get("resources.limits");
    for (name, request) in config.0.get("resources.requests").as_entries().into_iter().flatten() {
        let quantity = |value: &Value| value.as_str()?.parse::<Quantity>().ok();
        let limit = limits.as_entries().and_then(|limits| limits.get(name));
        if let (Some(request), Some(limit)) = (quantity(request), limit.and_then(quantity))
            && request > limit
        {
            let path = Path::of("resources.requests").key(name);
            found.error(
                path.clone(),
                format!("Invalid {path}"),
                format!("{request} is reserved, and at most {limit} may be used. Lower the request, or raise the limit."),
            );
        }
    }
}
