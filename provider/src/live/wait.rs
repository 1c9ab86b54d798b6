//! Waiting for a level, with a deadline: ends early when it can't come true, and at once when the user asks to stop.

use std::time::Duration;

use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::progress::{Signs, is_fulfilled, last_words, progress};
use pgha_provider_core::step::{Limit, Progress, Wait, Wish};
use pgha_schema::names::Names;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::collect::glance;
use super::errors::LiveError;

/// Between two looks at what the wish is fulfilled by, at first.
const PAUSE: Duration = Duration::from_millis(250);
/// The same after [`SOON`]: many clusters may be waited for at once, and what they need to start is what answers.
const LATER_PAUSE: Duration = Duration::from_millis(500);
/// Most changes of a cluster that is there have come true by then.
const SOON: Duration = Duration::from_secs(4);
/// Between two looks at what tells why it takes long: some ten requests of each cluster that is waited for.
const THOROUGH: Duration = Duration::from_secs(4);
/// Before the first of them: what comes true by then needs no telling.
const FIRST_THOROUGH: Duration = Duration::from_secs(2);
/// The same words are logged again after this.
const REPEAT: Duration = Duration::from_secs(15);

/// The frame of an operation: when it must be over, and who may end it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When the operation's timeout is up.
    pub deadline: Instant,
    /// The timeout as the user wrote it or left it, for messages.
    pub timeout: Duration,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
    /// Who else hears what a wait logs; nobody, but for actions.
    pub tell: Option<UnboundedSender<String>>,
}

impl Frame {
    /// Tells who listens, if somebody does.
    pub fn tell(&self, words: impl Into<String>) {
        if let Some(tell) = &self.tell {
            // Nobody is left to hear it when the host has hung up.
            let _ = tell.send(words.into());
        }
    }
}

/// Why a wait ended without its wish.
#[derive(Debug)]
pub enum Ended {
    /// It can't come true without a hand: the cause.
    Failed(String),
    /// The time is up; what was going on.
    TimedOut(String),
    /// The user asked to stop; what was going on.
    Stopped(String),
    /// The API server refuses to be asked.
    Refused(Box<LiveError>),
}

/// Waits. `start` is a snapshot from before the operation's first write.
pub async fn wait(
    api: &Api,
    names: &Names,
    frame: &Frame,
    start: &LiveCluster,
    wait: &Wait,
) -> Result<(), Ended> {
    let mut watch = Watch::new(api, names, start, wait);
    let end = end_of(wait, frame, watch.began);
    let mut words = format!("waiting until {}", watch.goal);
    let mut logged = (String::new(), watch.began);
    loop {
        let looked = tokio::select! {
            looked = Box::pin(watch.look()) => looked,
            () = frame.stop.cancelled() => return Err(Ended::Stopped(words)),
            () = tokio::time::sleep_until(end) => return at_end(wait, words),
        };
        match looked {
            Ok(Look::Fulfilled) => {
                tracing::info!(elapsed_ms = watch.elapsed_ms(), "reached: {}", watch.goal);
                return Ok(());
            }
            Ok(Look::Failed(cause)) => return Err(Ended::Failed(cause)),
            Ok(Look::Working(doing)) => words = doing,
            Ok(Look::NotYet) => {}
            // An API server that restarts is no reason to give up a wait; one that refuses us is.
            Err(error) if error.is_passing() => {
                words = format!("the API server does not answer: {}", super::errors::causes(&error));
            }
            Err(error) => return Err(Ended::Refused(Box::new(error))),
        }
        if logged.0 != words || logged.1.elapsed() >= REPEAT {
            let goal = &watch.goal;
            tracing::info!(elapsed_ms = watch.elapsed_ms(), "waiting until {goal}: {words}");
            frame.tell(format!("waiting until {goal}: {words}"));
            logged = (words.clone(), Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(watch.pause()) => {}
            () = frame.stop.cancelled() => return Err(Ended::Stopped(words)),
            () = tokio::time::sleep_until(end) => return at_end(wait, words),
        }
    }
}

/// One wait, and when it looked at everything.
struct Watch<'a> {
    api: &'a Api,
    names: &'a Names,
    start: &'a LiveCluster,
    wish: &'a Wish,
    goal: String,
    signs: Signs,
    thorough: Signs,
    began: Instant,
    thorough_at: Instant,
}

/// What a look gave.
enum Look {
    Fulfilled,
    Failed(String),
    Working(String),
    /// Only the signs were looked at.
    NotYet,
}

impl<'a> Watch<'a> {
    fn new(api: &'a Api, names: &'a Names, start: &'a LiveCluster, wait: &'a Wait) -> Self {
        let (wish, began) = (&wait.wish, Instant::now());
        let (goal, thorough_at) = (describe(wish), began + FIRST_THOROUGH);
        let (signs, thorough) = (Signs::of(wish, names), Signs::thorough(wish, names));
        Self { api, names, start, wish, goal, signs, thorough, began, thorough_at }
    }

    fn pause(&self) -> Duration {
        if self.began.elapsed() < SOON { PAUSE } else { LATER_PAUSE }
    }

    fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    async fn look(&mut self) -> Result<Look, LiveError> {
        let now = glance(self.api, self.names, &self.signs).await?;
        if is_fulfilled(self.wish, self.start, &now) {
            return Ok(Look::Fulfilled);
        }
        if Instant::now() < self.thorough_at {
            return Ok(Look::NotYet);
        }
        let now = Box::pin(glance(self.api, self.names, &self.thorough)).await?;
        self.thorough_at = Instant::now() + THOROUGH;
        Ok(match progress(self.wish, self.start, &now, self.elapsed_ms()) {
            Progress::Done => Look::Fulfilled,
            Progress::Failed(cause) => Look::Failed(cause),
            Progress::Working(doing) => {
                let told = last_words(self.start, &now);
                // What is to go is named, with what holds it; that no pod is there says nothing then.
                Look::Working(if told.is_empty() || self.wish.is_an_end() { doing } else { told })
            }
        })
    }
}

fn end_of(wait: &Wait, frame: &Frame, began: Instant) -> Instant {
    match wait.limit {
        Limit::Operation => frame.deadline,
        Limit::GoOnAfterMs(limit_ms) => frame.deadline.min(began + Duration::from_millis(limit_ms)),
    }
}

fn at_end(wait: &Wait, words: String) -> Result<(), Ended> {
    match wait.limit {
        Limit::Operation => Err(Ended::TimedOut(words)),
        Limit::GoOnAfterMs(_) => {
            tracing::warn!("going on without: {}; {words}", describe(&wait.wish));
            Ok(())
        }
    }
}

/// What is waited for, as the end of "until ...".
pub fn describe(wish: &Wish) -> String {
    match wish {
        Wish::Primary => "the primary accepts writes".to_owned(),
        Wish::Acknowledged { generation, .. } => {
            format!("every instance has the desired state (generation {generation}) in force")
        }
        Wish::Answered { .. } => "the primary has answered".to_owned(),
        Wish::Streaming { standbys } => {
            format!("{standbys} standbys stream, and confirm commits unless sync_mode is async")
        }
        Wish::Stopped => "the cluster has stopped cleanly".to_owned(),
        Wish::PodsGone { from_ordinal: 0 } => "every pod has ended".to_owned(),
        Wish::PodsGone { from_ordinal } => format!("the pods from ordinal {from_ordinal} on have ended"),
        Wish::Grown { size } => format!("every volume has {size}"),
        Wish::ClaimsGone { names } => format!("{} gone", are("the volume claim", names)),
        Wish::ObjectsGone { keys } => match keys.as_slice() {
            [key] => format!("{key} is gone"),
            keys => format!("all {} objects of the cluster are gone", keys.len()),
        },
    }
}

fn are(what: &str, names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{what} {} {verb}", names.join(", ")).trim_start().to_owned()
}
