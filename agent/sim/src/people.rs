//! What people do to a cluster: they ask its holder for things until they are answered, hold it with a pause, and decide when
//! its leader and voters are lost for good (A31).

use std::collections::BTreeSet;

use pgha_agent_core::observation::Received;
use pgha_schema::desired::BreakGlass;
use pgha_schema::ids::{Era, MemberId};
use pgha_schema::record::{Record, Switchover};
use pgha_schema::request::{Asked, Request};

use crate::invariants::people_are_obeyed;
use crate::network::End;
use crate::postgres::{Postgres, Volume};
use crate::world::World;

/// Who gets no answer asks again this often.
const AGAIN_MS: u64 = 500;
/// Who got none for so long gives up.
const PATIENCE_MS: u64 = 20_000;
/// A resume that no holder has answered is told to every agent.
const LIFT_MS: u64 = 5_000;

/// What people are about.
#[derive(Default)]
pub struct People {
    /// Requests without an answer, and since when.
    asking: Vec<(Request, u64)>,
    /// Pauses that were lifted at the agents.
    lifted: BTreeSet<String>,
    /// Since when somebody wants the pause to end.
    resuming: Option<u64>,
    /// No pause is wanted any more.
    want_no_pause: bool,
    /// The era whose leader and voters are lost for good, and when somebody decides (again).
    lost: Option<(Era, u64)>,
    /// The script decides.
    pub by_hand: bool,
    /// Requests whose hand-over was begun.
    begun: BTreeSet<String>,
}

impl People {
    /// Leader and voters are lost, and nobody leads yet.
    pub fn have_lost_the_leader(&self) -> bool {
        self.lost.is_some()
    }
}

impl World {
    /// Somebody asks the holder.
    pub fn ask(&mut self, asked: Asked) {
        let id = format!("r{}", self.fresh_number());
        let now = self.now;
        match asked {
            Asked::Resume => self.people.resuming = Some(now),
            Asked::Pause => self.people.want_no_pause = false,
            Asked::Switchover { .. } | Asked::Restart { .. } | Asked::Reinit { .. } => {}
        }
        self.people.asking.push((Request { id, asked }, now));
    }

    /// Somebody writes a request into the desired state, where the others stay that are there.
    pub fn wish_for(&mut self, asked: Asked) {
        let id = format!("w{}", self.fresh_number());
        self.api.wish(|desired| desired.requests.push(Request { id, asked }));
    }

    /// Somebody writes a hand-over into the desired state.
    pub fn wish_switchover(&mut self, to: Option<usize>) {
        let to = to.map(|pod| self.pods[pod].name.clone());
        self.wish_for(Asked::Switchover { to });
    }

    /// Leader and voters lose their volumes, and never get them back.
    pub fn lose_for_good(&mut self) {
        let Some((_, record)) = self.api.lease.clone() else { return };
        for pod in 0..self.pods.len() {
            if self.is_leader_or_voter(pod, &record) {
                self.kill_container(pod, false);
                self.pods[pod].volume = Volume::default();
                self.api.stamped.remove(&(pod as u32));
                self.new_pod_object(pod);
            }
        }
        let decides_at = self.now + self.pick(2_000, 15_000);
        self.people.lost = Some((record.era(), decides_at));
    }

    fn is_leader_or_voter(&self, pod: usize, record: &Record) -> bool {
        let Some(data) = &self.pods[pod].volume.data else { return false };
        let holds = record.holder.as_ref().and_then(|holder| holder.member.as_ref());
        holds == Some(&data.member) || record.voters.contains(&data.member)
    }

    /// Whether somebody would be left who could go on: it streams, and has nothing to do with the promise.
    pub fn somebody_would_be_left(&self) -> bool {
        let Some((_, record)) = &self.api.lease else { return false };
        (0..self.pods.len()).any(|pod| {
            let runs =
                matches!(&self.pods[pod].postgres, Postgres::Running(process) if process.receiver.is_some());
            let wanted = pod <= self.api.desired.replicas as usize;
            runs && wanted
                && self.pods[pod].volume.counted().is_some()
                && !self.is_leader_or_voter(pod, record)
        })
    }

    /// The glass is broken for this pod's member, in this era or the present one.
    pub fn break_glass(&mut self, pod: usize, era: Option<Era>) {
        let (Some(data), Some((_, record))) = (self.pods[pod].volume.counted(), &self.api.lease) else {
            return;
        };
        let (member, era) = (data.member.clone(), era.unwrap_or(record.era()));
        let text = format!("people give up era {era} and name {} ({member})", self.pods[pod].name);
        self.say(text);
        self.api.wish(|desired| {
            desired.break_glass = Some(BreakGlass { member, era, accept_data_loss: true });
        });
    }

    /// An event on a pod; those that only confirm what the log shows anyway are not repeated.
    pub fn tell_event(&mut self, pod: usize, warning: bool, reason: &str, message: &str) {
        if warning {
            self.say(format!("{} event {reason}: {message}", self.pods[pod].name));
        }
    }

    /// One step of everybody.
    pub fn step_people(&mut self) {
        self.decide_about_the_lost();
        let idle = self.people.asking.is_empty() && self.people.resuming.is_none();
        if self.api.down || (idle && !self.people.want_no_pause) {
            return;
        }
        let now = self.now;
        let Some((_, record)) = self.api.lease.clone() else {
            let kept = self.pods.iter().find_map(|at| at.volume.kept.as_ref()?.pause.as_ref());
            if let Some(id) = kept.map(|pause| pause.id.clone()) {
                self.lift(&id);
            }
            return;
        };
        if self.people.want_no_pause && record.pause.is_some() && self.people.resuming.is_none() {
            self.ask(Asked::Resume);
        }
        for (request, since) in std::mem::take(&mut self.people.asking) {
            if let Some(answer) = record.answer_to(&request.id) {
                self.say(format!("answer to {}: {:?}, {}", answer.asked, answer.outcome, answer.text));
                continue;
            }
            if now > since + PATIENCE_MS {
                self.say(format!("no answer to {}", request.asked.name()));
                continue;
            }
            if (now - since).is_multiple_of(AGAIN_MS) {
                self.deliver_request(&record, &request);
            }
            self.people.asking.push((request, since));
        }
        self.resume(&record);
    }

    fn deliver_request(&mut self, record: &Record, request: &Request) {
        let holder = record.holder.as_ref().map(|holder| holder.pod.clone());
        let Some(pod) = self.pods.iter().position(|at| Some(&at.name) == holder.as_ref()) else { return };
        let at_ms = self.clock(pod);
        let reached = self.net.talks(End::Clients, End::Node(pod)) && !self.is_frozen(pod);
        let agent = &mut self.pods[pod].agent;
        if self.now < agent.alive_from || self.now < agent.frozen_until || !reached {
            return;
        }
        agent.requests.retain(|received| received.request.id != request.id);
        agent.requests.push(Received { request: request.clone(), at_ms });
        self.poke(pod);
    }

    /// Whoever wants a pause to end asks the holder, and tells every agent when that brings nothing.
    fn resume(&mut self, record: &Record) {
        let (Some(since), now) = (self.people.resuming, self.now) else { return };
        let Some(pause) = &record.pause else {
            let asks = |asked: &Asked| matches!(asked, Asked::Pause | Asked::Resume);
            if !self.people.asking.iter().any(|(request, _)| asks(&request.asked)) {
                self.people.resuming = None;
            }
            return;
        };
        if now < since + LIFT_MS || !(now - since).is_multiple_of(LIFT_MS) {
            return;
        }
        self.say("people tell every agent that the pause is over".to_owned());
        let id = pause.id.clone();
        self.lift(&id);
    }

    fn lift(&mut self, id: &str) {
        self.people.lifted.insert(id.to_owned());
        for pod in 0..self.pods.len() {
            let alive = self.now >= self.pods[pod].agent.alive_from && !self.is_frozen(pod);
            let told = self.pods[pod].agent.lifted.contains(id);
            if alive && !told && self.net.talks(End::Clients, End::Node(pod)) {
                self.pods[pod].agent.lifted.insert(id.to_owned());
                self.poke(pod);
            }
        }
    }

    /// The cluster is left to itself: whatever pause still comes is ended.
    pub fn leave_it_to_itself(&mut self) {
        self.people.want_no_pause = true;
    }

    fn decide_about_the_lost(&mut self) {
        let (Some((era, at)), now) = (self.people.lost, self.now) else { return };
        let Some((_, record)) = &self.api.lease else { return };
        if record.era() > era {
            self.people.lost = None;
            return;
        }
        if now < at || self.people.by_hand || self.api.down {
            return;
        }
        self.people.lost = Some((era, now + PATIENCE_MS));
        let best = (0..self.pods.len())
            .filter(|pod| self.pods[*pod].exists)
            .filter_map(|pod| self.pods[pod].volume.counted().map(|data| (data.era, data.wal.len(), pod)))
            .max();
        if let Some((_, _, pod)) = best {
            self.break_glass(pod, None);
        }
    }

    /// The record changed hands or its requests changed: what people count on has to hold.
    pub fn people_see(&mut self, before: Option<&Record>, after: &Record) {
        let Some(before) = before else { return };
        let member = |record: &Record| record.holder.as_ref().and_then(|holder| holder.member.clone());
        let (was, is) = (member(before), member(after));
        // What an earlier holder was asked for and handed over is not begun again by one that stops for another reason.
        let asked_of_it = before.switchover.as_ref().is_some_and(|under_way| under_way.is_of(was.as_ref()));
        if let (Some(id), true, None, Some(_)) =
            (asked_id(before), asked_of_it, &before.release, &after.release)
        {
            let again = !self.people.begun.insert(id.clone());
            self.broken(people_are_obeyed::once(again, &id));
        }
        if was == is || was.is_none() {
            return;
        }
        let named = self
            .api
            .desired
            .break_glass
            .as_ref()
            .is_some_and(|allowed| Some(&allowed.member) == is.as_ref() && allowed.era == before.era());
        if named {
            self.accept_loss(is.as_ref());
            return;
        }
        let pause = before.pause.as_ref().filter(|pause| !self.people.lifted.contains(&pause.id));
        let by = after.holder.as_ref().map_or("", |holder| holder.pod.as_str());
        let broken = people_are_obeyed::pause(pause.is_some(), by);
        self.broken(broken);
    }

    fn accept_loss(&mut self, taker: Option<&MemberId>) {
        let data =
            self.pods.iter().filter_map(|at| at.volume.counted()).find(|data| Some(&data.member) == taker);
        if let Some(wal) = data.map(|data| data.wal.clone()) {
            self.oracle.give_up_all_but(&wal);
        }
    }
}

fn asked_id(record: &Record) -> Option<String> {
    let under_way: Option<&Switchover> = record.switchover.as_ref();
    under_way.and_then(|switchover| switchover.id.clone())
}
