//! Runs groups in lanes beside each other: each lane takes the next group when it is done with one, and runs its cases one after the other.
//!
//! libtest-mimic prints and counts; each of its threads waits for the result of one case.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use tokio::sync::RwLock;

use crate::bed::{Bed, chaos_minutes};
use crate::group::Group;

/// How many groups run beside each other.
const LANES: usize = 2;
/// A case that takes longer has failed.
const CASE_DEADLINE: Duration = Duration::from_secs(480);
/// More for the case that goes on for as long as it was asked to.
fn case_deadline() -> Duration {
    CASE_DEADLINE + Duration::from_secs(60 * chaos_minutes())
}

/// The future of a running case.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A test of its own name in a group.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name; the group's goes before it.
    pub name: &'static str,
    /// Whether it disturbs the whole sandbox: nothing else runs then.
    pub exclusive: bool,
    /// What it does.
    pub run: for<'a> fn(&'a mut Group) -> Running<'a>,
}

/// A group of cases that share a cluster, in the order in which they run.
pub struct Plan {
    /// The group's name.
    pub group: String,
    /// Which CLI drives it: a name that the bed knows.
    pub cli: &'static str,
    /// Its cases.
    pub cases: Vec<Case>,
}

struct Queued {
    full_name: String,
    case: Case,
    done: Sender<Result<(), String>>,
}

/// Makes the list of cases of a group from names of functions; `!` marks those that need the sandbox for themselves.
#[macro_export]
macro_rules! cases {
    (@exclusive) => { false };
    (@exclusive exclusive) => { true };
    ($($($mark:ident)? => $name:ident),* $(,)?) => {
        vec![$($crate::runner::Case {
            name: stringify!($name),
            exclusive: $crate::cases!(@exclusive $($mark)?),
            run: |group| Box::pin($name(group)),
        }),*]
    };
}

/// Runs what the arguments choose; `enabled` is whether the sandbox may be used at all. Groups that disturb the sandbox come after the others,
/// so that nobody has to end a case before each of theirs.
pub fn run(arguments: &Arguments, enabled: bool, mut plans: Vec<Plan>) -> Conclusion {
    let enabled = enabled || arguments.ignored || arguments.include_ignored;
    plans.sort_by_key(|plan| plan.cases.iter().any(|case| case.exclusive));
    let mut trials = Vec::new();
    let mut queue = Queue::new();
    for plan in plans {
        let mut chosen = Vec::new();
        for case in plan.cases {
            let full_name = format!("{}::{}", plan.group, case.name);
            let (done, result) = channel();
            if enabled && is_chosen(arguments, &full_name) {
                chosen.push(Queued { full_name: full_name.clone(), case, done });
            }
            trials.push(Trial::test(full_name, move || wait(&result)).with_ignored_flag(!enabled));
        }
        if !chosen.is_empty() {
            queue.push_back((plan.group, plan.cli, chosen));
        }
    }
    let mut arguments = arguments.clone();
    // Each of these threads only waits.
    arguments.test_threads = Some(trials.len().max(1));
    let nothing = arguments.list || queue.is_empty();
    let worker = (!nothing).then(|| std::thread::spawn(move || work(queue)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(worker) = worker {
        // Its failures are the cases' failures.
        let _ = worker.join();
    }
    conclusion
}

fn is_chosen(arguments: &Arguments, name: &str) -> bool {
    let matches =
        |filter: &String| if arguments.exact { name == filter } else { name.contains(filter.as_str()) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

fn wait(result: &Receiver<Result<(), String>>) -> Result<(), Failed> {
    match result.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(why.into()),
        Err(_) => Err("the case was never run: its lane ended before".into()),
    }
}

/// Groups that nobody runs yet.
type Queue = VecDeque<(String, &'static str, Vec<Queued>)>;

fn work(queue: Queue) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(queue, &format!("no runtime: {error}")),
    };
    runtime.block_on(async {
        let bed = match Bed::make().await {
            Ok(bed) => Arc::new(bed),
            Err(error) => return refuse(queue, &format!("the test bed could not be made: {error:#}")),
        };
        let (alone, queue) = (Arc::new(RwLock::new(())), Arc::new(Mutex::new(queue)));
        let lanes: Vec<_> = (0..LANES)
            .map(|_| tokio::spawn(run_lane(Arc::clone(&bed), Arc::clone(&alone), Arc::clone(&queue))))
            .collect();
        for lane in lanes {
            if let Err(panic) = lane.await {
                bed.say(format!("a lane ended early: {panic}"));
            }
        }
        bed.close().await;
        bed.print_gaps();
    });
}

fn refuse(queue: Queue, why: &str) {
    for queued in queue.into_iter().flat_map(|(_, _, cases)| cases) {
        // The receiver waits in its trial; it can't be gone.
        let _ = queued.done.send(Err(why.to_owned()));
    }
}

async fn run_lane(bed: Arc<Bed>, alone: Arc<RwLock<()>>, queue: Arc<Mutex<Queue>>) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some((name, cli, cases)) = next() {
        let mut group = Group::new(Arc::clone(&bed), &name, cli);
        for queued in cases {
            let outcome = if queued.case.exclusive {
                let _guard = alone.write().await;
                run_case(&bed, &mut group, &queued).await
            } else {
                let _guard = alone.read().await;
                run_case(&bed, &mut group, &queued).await
            };
            // The receiver waits in its trial; it can't be gone.
            let _ = queued.done.send(outcome);
        }
        group.close().await;
    }
}

async fn run_case(bed: &Bed, group: &mut Group, queued: &Queued) -> Result<(), String> {
    bed.say(format!("{} ...", queued.full_name));
    let started = Instant::now();
    let deadline = if queued.case.exclusive { case_deadline() } else { CASE_DEADLINE };
    let outcome = match tokio::time::timeout(deadline, (queued.case.run)(group)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow!("not done after {deadline:?}")),
    };
    let took = started.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            bed.say(format!("{}: ok in {took:.1} s", queued.full_name));
            Ok(())
        }
        Err(error) => {
            bed.say(format!("{}: FAILED after {took:.1} s: {}", queued.full_name, first_line(&error)));
            // At once, not in the summary: whoever watches need not wait for the end.
            bed.say(format!("{error:#}\n{}", group.report().await));
            // What the next case finds must not depend on what went wrong here.
            group.abandon(queued.case.exclusive).await;
            Err(format!("{error:#}"))
        }
    }
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}
