//! Walk-throughs as text: a story, one step a line, read like a log.
//!
//! ```text
//! wish 2 sync preferred      the cluster, before it starts (or a change of it later)
//! run 20                     seconds
//! until 30 TEXT              until the log says TEXT
//! kill-container 0           a fault or something that people do
//! expect primary 1           what has to hold now (`starts 1 2`: db-1 has started postgres twice since the beginning)
//! heals                      every fault ends; it has to heal
//! ```

use pgha_schema::desired::{AgentBinary, Durability, RunState, SyncMode};
use pgha_schema::ids::Era;
use pgha_schema::record::{RECORD_FORMAT, Record};
use pgha_schema::request::Asked;

use crate::exchange::OLD_AGENT;
use crate::faults::{Cut, Fault, Wish};
use crate::invariants::{Violation, acked_commits_survive, heals};
use crate::mutation::Mutation;
use crate::network::End;
use crate::postgres::Postgres;
use crate::run::{settle, wish};
use crate::world::{ANCHOR, PODS, World};

/// The world of every story: in this one db-1 is the standby that confirms, as the stories have it.
const STORY_SEED: u64 = 2;

/// A script that does not say what it should, or a story that went otherwise.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: `{text}`: {why}")]
pub struct ScriptError {
    line: usize,
    text: String,
    why: String,
    violation: Option<Violation>,
}

impl ScriptError {
    /// The property that broke, if it was one.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

/// Plays a script and returns its transcript: the script's own lines, and under each what happened.
///
/// # Errors
/// When a line can't be read, an expectation fails or a property breaks.
pub fn play(script: &str) -> Result<String, ScriptError> {
    play_without(script, None)
}

/// The same with a rule left out.
///
/// # Errors
/// As [`play`]: then the story shows what the rule is for.
pub fn play_without(script: &str, mutation: Option<Mutation>) -> Result<String, ScriptError> {
    let mut world = World::new(STORY_SEED, wish(2, SyncMode::Sync, Durability::Preferred), mutation);
    let mut transcript = String::new();
    let mut told = 0;
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        transcript.push_str(line);
        transcript.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error =
            |why: String| ScriptError { line: number + 1, text: line.to_owned(), why, violation: None };
        let played = step(&mut world, line).map_err(error);
        for entry in &world.log[told..] {
            if !entry[8..].starts_with('*') {
                transcript.push_str("    ");
                transcript.push_str(&shorten(entry));
                transcript.push('\n');
            }
        }
        told = world.log.len();
        if let Some(violation) = &world.violation {
            let violation = Some(violation.clone());
            let why = format!("{}\n{transcript}", world.violation.map(|v| v.to_string()).unwrap_or_default());
            return Err(ScriptError { violation, ..error(why) });
        }
        played.map_err(|error| ScriptError { why: format!("{}\n{transcript}", error.why), ..error })?;
    }
    Ok(transcript)
}

/// Tenths of a second are enough to read.
fn shorten(entry: &str) -> String {
    let (at, text) = entry.split_at(7);
    let at: u64 = at.trim().parse().unwrap_or(0);
    format!("{:>4}.{} {}", at / 1_000, at % 1_000 / 100, text.trim())
}

/// What people write into the desired state beside the configuration.
fn wish_for(world: &mut World, words: &[&str]) -> Result<(), String> {
    match *words {
        ["wish-switchover"] => world.wish_switchover(None),
        ["wish-switchover", pod] => world.wish_switchover(Some(index(pod)?)),
        ["wish-restart", pod] => {
            let pod = name(world, pod)?;
            world.wish_for(Asked::Restart { pod });
        }
        ["wish-reinit", pod] => {
            let pod = name(world, pod)?;
            world.wish_for(Asked::Reinit { pod });
        }
        ["wish-pause"] => world.wish_for(Asked::Pause),
        ["wish-resume"] => world.wish_for(Asked::Resume),
        ["wish-passwords"] => world.api.wish(|desired| desired.credentials.app = desired.generation + 1),
        _ => return Err("no such wish".to_owned()),
    }
    Ok(())
}

fn step(world: &mut World, line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["wish" | "max-lag" | "lease", ..] => change_wish(world, &words)?,
        ["run", seconds] => {
            let until = world.now + number(seconds)? * 1_000;
            while world.now < until && world.violation.is_none() {
                world.step();
            }
        }
        ["until", seconds, ..] => {
            let text = line.splitn(3, ' ').nth(2).unwrap_or_default();
            wait_for(world, number(seconds)? * 1_000, text)?;
        }
        ["expect", ref what @ ..] => expect(world, what)?,
        ["heals"] => settle(world),
        ["unschedulable", pod] => world.pods[index(pod)?].schedulable = false,
        ["schedulable", pod] => world.pods[index(pod)?].schedulable = true,
        ["stop"] => world.api.wish(|desired| desired.state = RunState::Stopped),
        ["resume"] => world.api.wish(|desired| desired.state = RunState::Running),
        ["destroy"] => destroy(world),
        ["create"] => create(world)?,
        ["create", "anew"] => {
            let anchor_uid = new_anchor(world);
            let record = Record::initial(&anchor_uid, world.api.desired.sync_mode);
            world.api.create(record);
        }
        ["old-agents"] => begin_with_old_agents(world)?,
        ["record", "voter", pod] => make_voter(world, index(pod)?)?,
        ["outrun", pod] => outrun(world, index(pod)?),
        ["api", "read-only"] => world.api.read_only = true,
        ["api", "read-write"] => world.api.read_only = false,
        ["stick-replay", pod] => world.pods[index(pod)?].replay_stuck = true,
        ["fill-disk", pod] => world.pods[index(pod)?].disk_full = true,
        ["make-room", pod] => world.pods[index(pod)?].disk_full = false,
        ["marks", "refused"] => world.api.refuses_marks = true,
        ["marks", "hidden"] => world.api.hide_marks(true),
        ["marks", "shown"] => world.api.hide_marks(false),
        ["marks", "taken"] => world.api.refuses_marks = false,
        ["api", "away"] => world.api.down = true,
        ["api", "back"] => world.api.down = false,
        ["api", "slow", ms] => world.api.slow_ms = number(ms)?,
        ["reach", pod, "peers"] => {
            world.net.heal_node(index(pod)?);
            world.net.cut(End::Node(index(pod)?), End::Api);
            world.net.cut(End::Api, End::Node(index(pod)?));
        }
        ["reach", pod] => world.net.heal_node(index(pod)?),
        ["kill-agent", pod] => world.inflict(&Fault::KillAgent(index(pod)?)),
        ["switchover"] => world.ask(Asked::Switchover { to: None }),
        ["switchover", "unknown"] => world.ask(Asked::Switchover { to: Some("db-9".to_owned()) }),
        ["switchover", pod] => world.ask(Asked::Switchover { to: Some(name(world, pod)?) }),
        [word, ..] if word.starts_with("wish-") => wish_for(world, &words)?,
        ["restart-postgres", pod] => world.ask(Asked::Restart { pod: name(world, pod)? }),
        ["reinit", pod] => world.ask(Asked::Reinit { pod: name(world, pod)? }),
        ["pause"] => world.ask(Asked::Pause),
        ["end-pause"] => world.ask(Asked::Resume),
        ["lose-for-good"] => {
            world.people.by_hand = true;
            world.lose_for_good();
        }
        ["break-glass", pod] => world.break_glass(index(pod)?, None),
        ["break-glass", pod, era] => world.break_glass(index(pod)?, Some(Era(number(era)?))),
        ["restart-agents"] => {
            for pod in 0..PODS {
                world.inflict(&Fault::KillAgent(pod));
            }
        }
        ["restart-pods"] => {
            for pod in 0..PODS {
                if world.pods[pod].exists {
                    world.delete_pod(pod);
                }
            }
        }
        _ => world.inflict(&fault(&words)?),
    }
    Ok(())
}

fn change_wish(world: &mut World, words: &[&str]) -> Result<(), String> {
    match *words {
        ["wish", replicas, mode, durability] => {
            let next = wish(number(replicas)? as u32, read_mode(mode)?, read_durability(durability)?);
            if world.now == 0 {
                *world = World::new(STORY_SEED, next, world.mutation);
            } else {
                world.api.wish(|desired| {
                    desired.replicas = next.replicas;
                    desired.sync_mode = next.sync_mode;
                    desired.durability = next.durability;
                });
            }
        }
        ["max-lag", bytes] => {
            let bytes = number(bytes)?;
            world.api.wish(|desired| desired.failover.max_lag_bytes = Some(bytes));
        }
        ["lease", lease_ms, fence_ms, renew_ms] => {
            let (lease, fence, renew) = (number(lease_ms)?, number(fence_ms)?, number(renew_ms)?);
            world.api.wish(|desired| {
                desired.failover.lease_duration_ms = lease;
                desired.failover.fence_after_ms = fence;
                desired.failover.renew_interval_ms = renew;
            });
        }
        _ => return Err("no such wish".to_owned()),
    }
    Ok(())
}

fn wait_for(world: &mut World, within_ms: u64, text: &str) -> Result<(), String> {
    let (from, deadline) = (world.log.len(), world.now + within_ms);
    let mut at = from;
    while world.now < deadline && world.violation.is_none() {
        world.step();
        if world.log[at..].iter().any(|entry| entry.contains(text)) {
            return Ok(());
        }
        at = world.log.len();
    }
    Err("it did not happen".to_owned())
}

fn fault(words: &[&str]) -> Result<Fault, String> {
    Ok(match words {
        ["crash-postgres", pod] => Fault::CrashPostgres(index(pod)?),
        ["kill-container", pod] => Fault::KillContainer(index(pod)?, true),
        ["delete-pod", pod] => Fault::DeletePod(index(pod)?),
        ["force-delete", pod] => Fault::ForceDelete(index(pod)?),
        ["disown", pod] => Fault::Disown(index(pod)?),
        ["leave-behind", pod] => Fault::LeaveBehind(index(pod)?),
        ["lose-wal", pod] => Fault::LoseWal(index(pod)?),
        ["stall-start", pod] => Fault::StallStart(index(pod)?),
        ["wipe-volume", pod] => Fault::WipeVolume(index(pod)?),
        ["reboot", pod, seconds] => Fault::Reboot(index(pod)?, number(seconds)? * 1_000),
        ["cut", pod, "wholly"] => Fault::Cut(index(pod)?, Cut::Wholly, 0),
        ["cut", pod, "api"] => Fault::Cut(index(pod)?, Cut::Api, 0),
        ["cut", pod, "peers"] => Fault::Cut(index(pod)?, Cut::Peers, 0),
        ["freeze-container", pod, seconds] => Fault::FreezeContainer(index(pod)?, number(seconds)? * 1_000),
        ["freeze-postgres", pod, seconds] => Fault::FreezePostgres(index(pod)?, number(seconds)? * 1_000),
        ["freeze-agent", pod, seconds] => Fault::FreezeAgent(index(pod)?, number(seconds)? * 1_000),
        ["delete-lease"] => Fault::DeleteLease,
        ["restart-setting", value] => Fault::Wish(Wish::Restart(number(value)?)),
        ["agent", value] => Fault::Wish(Wish::Agent(number(value)?, false)),
        ["broken-agent", value] => Fault::Wish(Wish::Agent(number(value)?, true)),
        ["template", value] => Fault::Wish(Wish::Template(number(value)?)),
        _ => return Err("no such step".to_owned()),
    })
}

fn expect(world: &World, what: &[&str]) -> Result<(), String> {
    let serving: Vec<usize> = (0..PODS).filter(|pod| world.serves(*pod)).collect();
    let record = world.api.lease.as_ref().map(|(_, record)| record);
    let found = match what {
        ["primary", pod] => (serving == [index(pod)?]).then_some(()).ok_or(format!("{serving:?} serve")),
        ["a", "primary"] => (serving.len() == 1).then_some(()).ok_or(format!("{serving:?} serve")),
        ["nobody", "serves"] => serving.is_empty().then_some(()).ok_or(format!("{serving:?} serve")),
        ["starts", pod, count] => times(world, pod, &["starts postgres"], number(count)?),
        ["rebuilt", pod, count] => times(world, pod, &["begins Rewind", "begins Clone"], number(count)?),
        ["format", format] => {
            let at = record.map_or(0, |record| record.format);
            (u64::from(at) == number(format)?).then_some(()).ok_or(format!("it is format {at}"))
        }
        ["voter", pod] => {
            let member = world.pods[index(pod)?].volume.counted().map(|data| data.member.clone());
            let voters = record.map(|record| record.voters.clone()).unwrap_or_default();
            member
                .is_some_and(|member| voters.len() == 1 && voters.contains(&member))
                .then_some(())
                .ok_or(format!("V is {voters:?}"))
        }
        ["agents", number] => {
            let wanted = crate::exchange::binary(self::number(number)?, false).sha256;
            let kept = world.api.set_replicas as usize;
            let others = world.pods.iter().take(kept).find(|pod| pod.binaries.runs != wanted);
            others.map_or(Ok(()), |pod| Err(format!("{} runs {}", pod.name, pod.binaries.runs)))
        }
        ["no", "voters"] => {
            record.is_some_and(|record| record.voters.is_empty()).then_some(()).ok_or("there are".to_owned())
        }
        ["degraded"] => {
            record.is_some_and(|record| record.degraded).then_some(()).ok_or("it is not".to_owned())
        }
        ["paused"] => {
            record.is_some_and(|record| record.pause.is_some()).then_some(()).ok_or("it is not".to_owned())
        }
        ["told", words @ ..] => {
            let text = world.api.status.as_ref().and_then(|status| status.answers.last());
            let text =
                text.map_or_else(String::new, |answer| format!("{:?}, {}", answer.outcome, answer.text));
            text.contains(&words.join(" ")).then_some(()).ok_or(format!("the status says `{text}`"))
        }
        ["writes"] => {
            (world.now - world.oracle.last_at < 1_000).then_some(()).ok_or("there are none".to_owned())
        }
        ["no", "writes"] => {
            (world.now - world.oracle.last_at >= 1_000).then_some(()).ok_or("there are".to_owned())
        }
        ["era", era] => {
            let at = record.map_or(0, |record| record.era().0);
            (at == number(era)?).then_some(()).ok_or(format!("it is era {at}"))
        }
        ["mode", mode] => {
            let at = record.map(|record| record.mode);
            (at == Some(read_mode(mode)?)).then_some(()).ok_or(format!("it is {at:?}"))
        }
        ["healthy"] => heals::check(world).map_or(Ok(()), |violation| Err(violation.to_string())),
        ["marked", pod] => (marked(world, pod)?).then_some(()).ok_or("it is not".to_owned()),
        ["unmarked", pod] => (!marked(world, pod)?).then_some(()).ok_or("it is marked".to_owned()),
        ["every", "row"] => every_row(world, &serving),
        ["acknowledged"] => {
            let at = acknowledged(world);
            (at == Some(world.api.desired.generation)).then_some(()).ok_or(format!("{at:?} is"))
        }
        ["not", "acknowledged"] => (acknowledged(world) != Some(world.api.desired.generation))
            .then_some(())
            .ok_or("it is".to_owned()),
        ["refused", number] => {
            let wanted = crate::exchange::binary(self::number(number)?, true).sha256;
            let refused = world.api.status.as_ref().and_then(|status| status.agent_refused.as_ref());
            refused
                .is_some_and(|refused| refused.refusal.sha256 == wanted)
                .then_some(())
                .ok_or(format!("{refused:?}"))
        }
        _ => return Err("no such expectation".to_owned()),
    };
    found.map_err(|why| format!("not so: {why}"))
}

fn marked(world: &World, pod: &str) -> Result<bool, String> {
    Ok(world.api.stamped.contains_key(&(index(pod)? as u32)))
}

/// How often the log says one of these of a pod, since the beginning.
fn times(world: &World, pod: &str, what: &[&str], wanted: u64) -> Result<(), String> {
    let name = name(world, pod)?;
    let told = |entry: &&String| what.iter().any(|what| entry.contains(&format!("{name} {what}")));
    let found = world.log.iter().filter(told).count() as u64;
    (found == wanted).then_some(()).ok_or(format!("{found}"))
}

/// The generation that the holder says is in force.
fn acknowledged(world: &World) -> Option<u64> {
    let status = world.api.status.as_ref()?;
    status.acknowledged.as_ref().map(|acknowledged| acknowledged.generation)
}

fn every_row(world: &World, serving: &[usize]) -> Result<(), String> {
    let Some(data) = serving.first().and_then(|pod| world.pods[*pod].volume.data.as_ref()) else {
        return Err("nobody serves".to_owned());
    };
    acked_commits_survive::check(&world.oracle, &data.wal, "the primary")
        .map_or(Ok(()), |violation| Err(violation.to_string()))
}

fn name(world: &World, pod: &str) -> Result<String, String> {
    Ok(world.pods[index(pod)?].name.clone())
}

/// A cluster whose agents and record are from before the newest format.
fn begin_with_old_agents(world: &mut World) -> Result<(), String> {
    if world.now > 0 {
        return Err("it has begun already".to_owned());
    }
    let mut wish = world.api.desired.clone();
    wish.agent = wish.agent.map(|agent| AgentBinary { sha256: OLD_AGENT.to_owned(), ..agent });
    *world = World::new(STORY_SEED, wish, world.mutation);
    if let Some((_, record)) = &mut world.api.lease {
        record.format = RECORD_FORMAT - 1;
    }
    Ok(())
}

/// Somebody's hand: nothing of the protocol makes a voter of a member that does not stream.
fn make_voter(world: &mut World, pod: usize) -> Result<(), String> {
    let member = world.pods[pod].volume.data.as_ref().map(|data| data.member.clone());
    let (version, mut record) = world.api.lease.clone().ok_or("there is no Lease")?;
    record.voters.insert(member.ok_or("it has no data")?);
    world.replace_record(&version, record);
    Ok(())
}

/// The primary has removed WAL that a standby still needs.
fn outrun(world: &mut World, pod: usize) {
    world.kill_postgres(pod);
    if let Some(data) = &mut world.pods[pod].volume.data {
        data.outrun = true;
    }
}

/// What the provider's destroy leaves: the volumes and their claims, each with the whole record (P21).
fn destroy(world: &mut World) {
    let record = world.api.lease.take().map(|(_, record)| record);
    for pod in 0..PODS {
        world.kill_container(pod, false);
        let at = &mut world.pods[pod];
        at.exists = false;
        at.start_at = None;
        at.postgres = Postgres::Down;
        if at.volume.data.is_some() {
            at.volume.kept.clone_from(&record);
        }
    }
    world.api.set_replicas = 0;
    world.api.set_stamped = None;
    world.api.status = None;
}

/// The provider's create over volumes that carry a record: the Lease is made with the one of the highest era.
fn create(world: &mut World) -> Result<(), String> {
    let kept = world.pods.iter().filter_map(|at| at.volume.kept.clone()).max_by_key(|record| record.era());
    let record = kept.ok_or("no volume carries a record")?;
    let anchor_uid = new_anchor(world);
    world.api.create(Record { anchor_uid, ..record });
    Ok(())
}

/// A cluster that is made anew has another anchor.
fn new_anchor(world: &mut World) -> String {
    world.api.wish(|desired| {
        desired.state = RunState::Running;
        desired.anchor_uid = format!("{ANCHOR}-again");
    });
    world.api.desired.anchor_uid.clone()
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn index(text: &str) -> Result<usize, String> {
    let pod = number(text)? as usize;
    if pod < PODS { Ok(pod) } else { Err(format!("there is no pod {pod}")) }
}

fn read_mode(text: &str) -> Result<SyncMode, String> {
    match text {
        "sync" => Ok(SyncMode::Sync),
        "quorum" => Ok(SyncMode::Quorum),
        "async" => Ok(SyncMode::Async),
        _ => Err(format!("`{text}` is no mode")),
    }
}

fn read_durability(text: &str) -> Result<Durability, String> {
    match text {
        "preferred" => Ok(Durability::Preferred),
        "required" => Ok(Durability::Required),
        _ => Err(format!("`{text}` is no durability")),
    }
}
