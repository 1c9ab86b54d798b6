//! What goes wrong, by the seed.

use pgha_schema::desired::{Durability, SyncMode};
use pgha_schema::record::Bootstrap;
use pgha_schema::request::Asked;
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;

use crate::exchange::binary;
use crate::mutation::Mutation;
use crate::network::End;
use crate::postgres::{Postgres, Volume};
use crate::world::{PODS, World};

/// A fault, or something that people do.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The postmaster dies.
    CrashPostgres(usize),
    /// The agent dies; the guard starts it again.
    KillAgent(usize),
    /// PID 1 dies. The flag: its last message is seen.
    KillContainer(usize, bool),
    /// The node restarts.
    Reboot(usize, u64),
    /// A node is cut off for a while.
    Cut(usize, Cut, u64),
    /// The API server is away.
    ApiDown(u64),
    /// It answers slowly: so many milliseconds.
    ApiSlow(u64, u64),
    /// Some answers are lost.
    ApiLosesReplies(u64),
    /// Reads work, writes fail.
    ApiReadOnly(u64),
    /// Claims and the StatefulSet can be neither read nor marked.
    HideMarks(u64),
    /// The agent is suspended.
    FreezeAgent(usize, u64),
    /// Postgres is suspended.
    FreezePostgres(usize, u64),
    /// The whole container is suspended, guard and all.
    FreezeContainer(usize, u64),
    /// The container gets hardly any processor: all in it stand still for most of each tenth of a second.
    Starve(usize, u64),
    /// The disk hangs.
    HangDisk(usize, u64),
    /// The disk has no room for more WAL: whoever writes some stops.
    FillDisk(usize, u64),
    /// The watch delivers nothing.
    StickWatch(usize, u64),
    /// `kubectl delete pod`.
    DeletePod(usize),
    /// The same with force: the object goes at once, its status with it.
    ForceDelete(usize),
    /// The same, and the container gets the kubelet's two seconds, in which the API server no longer knows its token.
    Disown(usize),
    /// Deleted by force, while the container's processes run on for a while.
    LeaveBehind(usize),
    /// The volume is lost with the pod.
    WipeVolume(usize),
    /// The WAL on a volume is gone, and postgres crashes.
    LoseWal(usize),
    /// The same, and each start waits for it.
    StallStart(usize),
    /// A person asks for a switchover.
    Switchover(Option<usize>),
    /// The desired state asks for one.
    WishSwitchover(Option<usize>),
    /// A person asks for a restart.
    Restart(usize),
    /// A person asks for a new clone.
    Reinit(usize),
    /// A person pauses the cluster for a while.
    Pause(u64),
    /// Leader and voters lose their volumes; people have to decide.
    LoseForGood,
    /// The wish changes.
    Wish(Wish),
    /// Somebody deletes the Lease.
    DeleteLease,
}

/// Which links of a node are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All.
    Wholly,
    /// To and from the API server.
    Api,
    /// To and from other nodes.
    Peers,
    /// What it sends to other nodes.
    PeersOut,
    /// What it gets from other nodes.
    PeersIn,
    /// Answers of the API server.
    ApiIn,
}

/// A change of the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `sync_mode`.
    Mode(SyncMode),
    /// `durability`.
    Durability(Durability),
    /// `replicas`.
    Replicas(u32),
    /// `sync_replicas`.
    SyncReplicas(u32),
    /// A parameter that needs a restart.
    Restart(u64),
    /// Another pod template.
    Template(u64),
    /// Another agent; the flag: it is broken.
    Agent(u64, bool),
}

/// Chooses the next fault.
pub fn choose(rng: &mut Chance, world: &World) -> Fault {
    let pods = world.api.desired.replicas as usize + 1;
    let pod = rng.random_range(0..pods);
    let short = rng.random_range(300..4_000);
    let long = rng.random_range(3_000..25_000);
    let some = if rng.random_bool(0.5) { short } else { long };
    let sync = world.api.desired.sync_mode != SyncMode::Async
        && world
            .api
            .lease
            .as_ref()
            .is_some_and(|(_, record)| record.mode != SyncMode::Async && !record.degraded);
    match rng.random_range(0..100) {
        0..8 => Fault::CrashPostgres(pod),
        8..14 => Fault::KillAgent(pod),
        14..24 => Fault::KillContainer(pod, rng.random_bool(0.8)),
        24..30 => Fault::Reboot(pod, some),
        30..46 => {
            let cuts = [Cut::Wholly, Cut::Api, Cut::Peers, Cut::PeersOut, Cut::PeersIn, Cut::ApiIn];
            Fault::Cut(pod, cuts[rng.random_range(0..cuts.len())], some)
        }
        46..50 => Fault::ApiDown(some),
        50..53 => Fault::ApiSlow(rng.random_range(200..3_000), some),
        53..57 => Fault::ApiLosesReplies(some),
        57..59 => Fault::ApiReadOnly(some),
        59..63 => Fault::FreezeAgent(pod, some),
        63 => Fault::HideMarks(long),
        64..68 => Fault::FreezePostgres(pod, some),
        // In async nothing but time fences a primary whose guard sleeps too: documented, not promised.
        68..72 if sync => Fault::FreezeContainer(pod, some),
        68..72 => Fault::FreezeAgent(pod, some),
        72..74 => Fault::Starve(pod, long),
        74 => Fault::HangDisk(pod, some),
        75 => Fault::FillDisk(pod, some),
        76..79 => Fault::StickWatch(pod, some),
        79..84 => Fault::DeletePod(pod),
        84 => Fault::ForceDelete(pod),
        85 => Fault::LeaveBehind(pod),
        86 => Fault::Disown(pod),
        87 => Fault::WipeVolume(pod),
        88 if rng.random_bool(0.5) => Fault::StallStart(pod),
        88 => Fault::LoseWal(pod),
        89..94 => choose_request(rng, pod, long),
        94..98 => Fault::Wish(choose_wish(rng)),
        98 => Fault::LoseForGood,
        _ => Fault::DeleteLease,
    }
}

fn choose_request(rng: &mut Chance, pod: usize, long: u64) -> Fault {
    let target = rng.random_bool(0.5).then_some(pod);
    match rng.random_range(0..8) {
        0..3 => Fault::Switchover(target),
        3 => Fault::WishSwitchover(target),
        4 => Fault::Restart(pod),
        5 => Fault::Reinit(pod),
        _ => Fault::Pause(long),
    }
}

fn choose_wish(rng: &mut Chance) -> Wish {
    match rng.random_range(0..10) {
        0..2 => Wish::Mode(SyncMode::Async),
        2..4 => Wish::Mode(SyncMode::Sync),
        4 => Wish::Mode(SyncMode::Quorum),
        5 => Wish::Durability(Durability::Required),
        6 => Wish::Durability(Durability::Preferred),
        7 if rng.random_bool(0.3) => Wish::SyncReplicas(rng.random_range(1..3)),
        7 => Wish::Replicas(rng.random_range(1..PODS as u32)),
        8 => Wish::Restart(rng.random_range(1..1_000)),
        _ => Wish::Template(rng.random_range(1..1_000)),
    }
}

impl World {
    /// It happens.
    pub fn inflict(&mut self, fault: &Fault) {
        if !self.may_happen(fault) {
            return;
        }
        self.say(format!("* {fault:?}"));
        let now = self.now;
        match *fault {
            Fault::CrashPostgres(pod) => self.kill_postgres(pod),
            Fault::KillAgent(pod) => self.kill_agent(pod),
            Fault::KillContainer(pod, told) => self.kill_container(pod, told),
            Fault::Reboot(pod, length) => {
                self.kill_container(pod, false);
                self.nodes[pod].boot += 1;
                self.nodes[pod].up_at = now + length;
            }
            Fault::Cut(pod, cut, _) => self.cut(pod, cut),
            Fault::ApiDown(_) => self.api.down = true,
            Fault::ApiSlow(slow_ms, _) => self.api.slow_ms = slow_ms,
            Fault::ApiLosesReplies(_) => self.api.lose_every = 3,
            Fault::ApiReadOnly(_) => self.api.read_only = true,
            Fault::HideMarks(_) => self.api.hide_marks(true),
            Fault::FreezeAgent(pod, length) => self.pods[pod].agent.frozen_until = now + length,
            Fault::FreezePostgres(pod, length) => self.pods[pod].postgres_frozen_until = now + length,
            Fault::FreezeContainer(pod, length) => self.pods[pod].frozen_until = now + length,
            Fault::Starve(pod, length) => self.pods[pod].starved_until = now + length,
            Fault::FillDisk(pod, _) => self.fill_disk(pod, true),
            Fault::HangDisk(pod, length) => self.pods[pod].disk_hung_until = now + length,
            Fault::StickWatch(pod, length) => self.pods[pod].agent.watch_at = now + length,
            Fault::DeletePod(pod) => self.delete_pod(pod),
            Fault::ForceDelete(pod) => {
                self.kill_container(pod, false);
                self.new_pod_object(pod);
            }
            Fault::LeaveBehind(pod) => self.leave_behind(pod),
            Fault::Disown(pod) => {
                self.delete_pod(pod);
                self.pods[pod].disowned = true;
                self.pods[pod].deleting_until = Some(now + 2_000);
            }
            Fault::LoseWal(pod) | Fault::StallStart(pod) => {
                self.kill_postgres(pod);
                if let Some(data) = &mut self.pods[pod].volume.data {
                    data.unreadable = true;
                    data.waits = matches!(fault, Fault::StallStart(_));
                }
            }
            Fault::WipeVolume(pod) => {
                self.kill_container(pod, false);
                self.pods[pod].volume = Volume::default();
                self.api.stamped.remove(&(pod as u32));
                self.new_pod_object(pod);
            }
            Fault::Switchover(target) => {
                let to = target.map(|pod| self.pods[pod].name.clone());
                self.ask(Asked::Switchover { to });
            }
            Fault::WishSwitchover(target) => self.wish_switchover(target),
            Fault::Restart(pod) => self.ask(Asked::Restart { pod: self.pods[pod].name.clone() }),
            Fault::Reinit(pod) => self.ask(Asked::Reinit { pod: self.pods[pod].name.clone() }),
            Fault::Pause(_) => self.ask(Asked::Pause),
            Fault::LoseForGood => self.lose_for_good(),
            Fault::Wish(wish) => self.api.wish(|desired| match wish {
                Wish::Mode(mode) => desired.sync_mode = mode,
                Wish::Durability(durability) => desired.durability = durability,
                Wish::Replicas(replicas) => desired.replicas = replicas,
                Wish::SyncReplicas(number) => desired.sync_replicas = number,
                Wish::Restart(value) => {
                    desired.parameters.insert("max_connections".to_owned(), value.to_string());
                }
                Wish::Template(value) => desired.template_hash = format!("template-{value}"),
                Wish::Agent(value, broken) => desired.agent = Some(binary(value, broken)),
            }),
            Fault::DeleteLease => self.api.lease = None,
        }
    }

    /// It passes; `None`: nothing has to be undone.
    pub fn ends_after(fault: &Fault) -> Option<u64> {
        match *fault {
            Fault::Cut(_, _, length)
            | Fault::ApiDown(length)
            | Fault::ApiSlow(_, length)
            | Fault::ApiLosesReplies(length)
            | Fault::ApiReadOnly(length)
            | Fault::HideMarks(length)
            | Fault::FillDisk(_, length)
            | Fault::Pause(length) => Some(length),
            _ => None,
        }
    }

    /// Undoes it.
    pub fn mend(&mut self, fault: &Fault) {
        match fault {
            Fault::Cut(pod, ..) => self.net.heal_node(*pod),
            Fault::ApiDown(_) => self.api.down = false,
            Fault::FillDisk(pod, _) => self.fill_disk(*pod, false),
            Fault::ApiSlow(..) => self.api.slow_ms = 0,
            Fault::ApiLosesReplies(_) => self.api.lose_every = 0,
            Fault::ApiReadOnly(_) => self.api.read_only = false,
            Fault::HideMarks(_) => self.api.hide_marks(false),
            Fault::Pause(_) => self.ask(Asked::Resume),
            _ => return,
        }
        self.say(format!("* over: {fault:?}"));
    }

    /// Everything passes, everything runs.
    pub fn mend_all(&mut self) {
        self.net.heal();
        self.api.down = false;
        self.api.slow_ms = 0;
        self.api.lose_every = 0;
        self.api.read_only = false;
        self.api.hide_marks(false);
        self.leave_it_to_itself();
        let now = self.now;
        for at in &mut self.pods {
            at.frozen_until = at.frozen_until.min(now);
            at.starved_until = at.starved_until.min(now);
            at.postgres_frozen_until = at.postgres_frozen_until.min(now);
            at.disk_hung_until = at.disk_hung_until.min(now);
            (at.disk_full, at.stops_when_full, at.replay_stuck) = (false, false, false);
            at.agent.frozen_until = at.agent.frozen_until.min(now);
            at.schedulable = true;
        }
        for node in &mut self.nodes {
            node.up_at = node.up_at.min(now);
        }
        self.say("* all faults are over".to_owned());
    }

    fn fill_disk(&mut self, pod: usize, full: bool) {
        let at = &mut self.pods[pod];
        (at.disk_full, at.stops_when_full) = (full, full);
    }

    /// An agent asks for a pod's deletion.
    pub fn delete_pod_of(&mut self, asking: usize, name: &str, uid: &str) {
        let target = self.pods.iter().position(|at| at.name == name && at.uid() == uid && at.exists);
        if let (Some(target), true) = (target, self.api_answers(asking)) {
            self.delete_pod(target);
        }
    }

    /// The guard starts it again, or the one before when it was on trial.
    pub fn kill_agent(&mut self, pod: usize) {
        if !self.pods[pod].up {
            return;
        }
        self.take_back(pod, self.api.desired.generation);
        if self.mutation == Some(Mutation::StartsAfresh) {
            self.kill_postgres(pod);
        }
        let again = self.now + self.pick(100, 1_500);
        let terminate_ms = self.pods[pod].agent.terminate_ms;
        let fence_at = self.pods[pod].guard_deadline;
        let mut agent = crate::pod::Agent::new(again);
        agent.terminate_ms = terminate_ms;
        agent.fence_at = fence_at;
        self.pods[pod].agent = agent;
    }

    fn cut(&mut self, pod: usize, cut: Cut) {
        let here = End::Node(pod);
        let others: Vec<End> = (0..PODS).filter(|other| *other != pod).map(End::Node).collect();
        let (mut out, mut into) = (Vec::new(), Vec::new());
        match cut {
            Cut::Wholly => {
                out.extend(others.iter().copied().chain([End::Api, End::Clients]));
                into.clone_from(&out);
            }
            Cut::Api => {
                out.push(End::Api);
                into.push(End::Api);
            }
            Cut::Peers => {
                out.clone_from(&others);
                into.clone_from(&others);
            }
            Cut::PeersOut => out.clone_from(&others),
            Cut::PeersIn => into.clone_from(&others),
            Cut::ApiIn => into.push(End::Api),
        }
        for end in out {
            self.net.cut(here, end);
        }
        for end in into {
            self.net.cut(end, here);
        }
    }

    /// Only what a person can decide about: all is well, in sync, and somebody else would be left.
    fn may_be_lost(&self) -> bool {
        let Some((_, record)) = &self.api.lease else { return false };
        let known = record.mode == SyncMode::Sync && !record.voters.is_empty() && self.api.late.is_empty();
        known && crate::invariants::heals::check(self).is_none() && self.somebody_would_be_left()
    }

    fn all_can_be_read(&self) -> bool {
        self.pods.iter().filter_map(|pod| pod.volume.data.as_ref()).all(|data| !data.unreadable)
    }

    /// A volume is lost only while its content is elsewhere: one at a time, and never the only copy that the record
    /// relies on. Everything else may happen at any time.
    fn may_happen(&self, fault: &Fault) -> bool {
        let (Fault::WipeVolume(pod) | Fault::LoseWal(pod) | Fault::StallStart(pod)) = *fault else {
            return match *fault {
                // A Lease that is lost before a volume knows that there is data is for a person to make again: nobody was
                // let in yet, but no member can tell (the reply to the write that ended the bootstrap may be lost).
                Fault::DeleteLease => {
                    !self.people.have_lost_the_leader()
                        // Who can't read its WAL can't tell how much it has: nobody could be the newest but by a person's word.
                        && self.all_can_be_read()
                        && self.pods.iter().any(|pod| {
                            let kept = pod.volume.kept.as_ref();
                            kept.is_some_and(|kept| kept.bootstrap == Bootstrap::Done)
                                // Initdb's marker stands until the agent has seen that the record names its data.
                                && pod.volume.counted().is_some()
                        })
                }
                // As below: it may become the one that has to confirm every commit.
                Fault::Wish(
                    Wish::Durability(Durability::Required) | Wish::Replicas(_) | Wish::SyncReplicas(_),
                ) => self.all_can_be_read(),
                Fault::DeletePod(pod)
                | Fault::ForceDelete(pod)
                | Fault::LeaveBehind(pod)
                | Fault::Disown(pod) => self.pods[pod].exists,
                Fault::LoseForGood => self.may_be_lost(),
                _ => true,
            };
        };
        if crate::invariants::heals::check(self).is_some() {
            return false;
        }
        let Some((_, record)) = &self.api.lease else { return false };
        let Postgres::Running(_) = &self.pods[pod].postgres else { return false };
        // One that has to confirm every commit, and can be replaced by nobody, stays what it is until a person takes its volume away.
        if matches!(fault, Fault::LoseWal(_) | Fault::StallStart(_))
            && self.api.desired.durability == Durability::Required
            && self.api.desired.replicas <= self.api.desired.sync_replicas
        {
            return false;
        }
        let holds = record.holder.as_ref().is_some_and(|holder| holder.pod == self.pods[pod].name);
        // A write that is still under way may say that nobody but the holder may lead.
        !holds || (record.mode != SyncMode::Async && !record.voters.is_empty() && self.api.late.is_empty())
    }
}
