//! Asks the cluster for something and waits until it is answered. The request has a name of its own, so it is sent again
//! and again, to whoever leads by then, and carried out once.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::StatusCode;
use pgha_schema::record::Record;
use pgha_schema::request::{Answer, Asked, Outcome, Request};
use pgha_schema::status::Role;

use super::{get, own_address, own_pod, port, view};
use crate::rest::client::{Lines, Reply};
use crate::rest::requests::{Wish, new_id};
use crate::secrets::Secrets;
use crate::settings::Layout;

/// Nothing but a clone takes longer, unless it waits for something that `status` tells.
const DEADLINE: Duration = Duration::from_secs(150);
/// A large database takes its time to be cloned.
const CLONE_DEADLINE: Duration = Duration::from_hours(1);
/// A request that nobody took up in this time is not waited for any longer: no primary serves.
const TAKEN_UP: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ASK_EVERY: Duration = Duration::from_secs(2);
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// What a command says, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// For people.
    pub text: String,
    /// How it came out.
    pub end: End,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Done: 0.
    Done,
    /// Refused, nothing was begun: 3.
    Refused,
    /// Begun, and undone or come out otherwise: 4.
    Undone,
    /// Nobody has answered in time: 5.
    Unknown,
}

impl End {
    /// The exit code; 1 is left to errors, 2 to wrong arguments.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Refused => 3,
            Self::Undone => 4,
            Self::Unknown => 5,
        })
    }
}

/// Another instance is to lead.
pub async fn switchover(to: Option<String>) -> anyhow::Result<Finished> {
    ask(Asked::Switchover { to }, DEADLINE).await
}

/// One postgres is restarted in place.
pub async fn restart(pod: Option<String>) -> anyhow::Result<Finished> {
    let pod = pod.map_or_else(own_pod, Ok)?;
    ask(Asked::Restart { pod }, DEADLINE).await
}

/// Every postgres, one after the other, the primary's last; ends with the first that is not done.
pub async fn restart_all() -> anyhow::Result<Finished> {
    let view = view().await?;
    let mut pods: Vec<(bool, String)> = view
        .instances()
        .into_iter()
        .filter_map(|(pod, (_, report))| Some((report?.role == Role::Primary, pod.to_owned())))
        .collect();
    pods.sort();
    let mut text = String::new();
    for (_, pod) in pods {
        let finished = ask(Asked::Restart { pod }, DEADLINE).await?;
        text = format!("{text}{}\n", finished.text);
        if finished.end != End::Done {
            return Ok(Finished { text, ..finished });
        }
    }
    Ok(Finished { text, end: End::Done })
}

/// A standby's data is cloned anew.
pub async fn reinit(pod: Option<String>) -> anyhow::Result<Finished> {
    let pod = pod.map_or_else(own_pod, Ok)?;
    ask(Asked::Reinit { pod }, CLONE_DEADLINE).await
}

/// The cluster is held as it is.
pub async fn pause() -> anyhow::Result<Finished> {
    ask(Asked::Pause, DEADLINE).await
}

/// The end of that.
pub async fn resume() -> anyhow::Result<Finished> {
    ask(Asked::Resume, DEADLINE).await
}

async fn ask(asked: Asked, deadline: Duration) -> anyhow::Result<Finished> {
    let layout = Layout::from_env();
    let key = Secrets::new(&layout.secrets, &layout.sockets).agent_key().context("the agents' key")?;
    let request = Request { id: new_id()?, asked };
    let began = Instant::now();
    let mut asked_last: Option<Instant> = None;
    let mut problem = String::new();
    loop {
        let record = record().await;
        if let Some(answer) = record.as_ref().and_then(|record| record.answer_to(&request.id)) {
            return Ok(finished(answer, began.elapsed()));
        }
        let under_way = record.as_ref().is_some_and(|record| record.carries(&request.id));
        if !under_way && asked_last.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            asked_last = Some(Instant::now());
            match send(&key, &request).await? {
                Sent::Taken => {}
                Sent::Lifted(pods) => return Ok(lifted(&pods)),
                Sent::Problem(why) => problem = why,
            }
        }
        if began.elapsed() > if under_way { deadline } else { TAKEN_UP.min(deadline) } {
            return Ok(not_answered(&request, under_way, &problem, began.elapsed()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The record as this pod's agent knows it; it may be restarting.
async fn record() -> Option<Record> {
    let body = get(own_address(), "/record").await.ok()?;
    serde_json::from_slice::<Option<Record>>(&body).ok()?
}

enum Sent {
    Taken,
    /// No primary answers: these agents go on without the pause.
    Lifted(Vec<String>),
    Problem(String),
}

async fn send(key: &[u8], request: &Request) -> anyhow::Result<Sent> {
    let path = format!("/{}", request.asked.name());
    let body = serde_json::to_vec(&Wish::of(request))?;
    let address = SocketAddr::new(own_address(), port());
    let answer = Lines::default().post_signed(address, key, &path, &[], &body, REQUEST_DEADLINE).await;
    let Reply { status, body, .. } = match answer {
        Ok(answer) => answer,
        Err(error) => return Ok(Sent::Problem(format!("this pod's agent does not answer: {error}"))),
    };
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    match status {
        StatusCode::ACCEPTED => {
            let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let pods = told["lifted"].as_array().map(|pods| {
                pods.iter().filter_map(|pod| pod.as_str().map(str::to_owned)).collect::<Vec<_>>()
            });
            Ok(pods.map_or(Sent::Taken, Sent::Lifted))
        }
        StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
            bail!("{status}: {text}")
        }
        _ => Ok(Sent::Problem(text)),
    }
}

fn finished(answer: &Answer, took: Duration) -> Finished {
    let seconds = took.as_secs_f64();
    match answer.outcome {
        Outcome::Done => {
            Finished { text: format!("done in {seconds:.1} s: {}", answer.text), end: End::Done }
        }
        Outcome::Refused => Finished { text: format!("refused: {}", answer.text), end: End::Refused },
        Outcome::Reverted => {
            Finished { text: format!("reverted after {seconds:.1} s: {}", answer.text), end: End::Undone }
        }
        Outcome::Failed => {
            Finished { text: format!("failed after {seconds:.1} s: {}", answer.text), end: End::Undone }
        }
    }
}

fn lifted(pods: &[String]) -> Finished {
    let text = format!("no primary answers: {} go on without the pause, and may take over", pods.join(", "));
    Finished { text, end: End::Done }
}

fn not_answered(request: &Request, under_way: bool, problem: &str, waited: Duration) -> Finished {
    let what = request.asked.name();
    let seconds = waited.as_secs();
    let text = if under_way {
        format!(
            "the {what} is still under way after {seconds} s; `pgha-agent status` tells what it waits for"
        )
    } else if problem.is_empty() {
        format!("no primary has taken the {what} up in {seconds} s; `pgha-agent status` tells why")
    } else {
        format!("no primary has taken the {what} up in {seconds} s: {problem}")
    };
    Finished { text, end: End::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(outcome: Outcome) -> Finished {
        let answer =
            Answer { id: "r".into(), asked: "switchover".into(), outcome, text: "db-1 leads".into() };
        finished(&answer, Duration::from_millis(840))
    }

    #[test]
    fn the_caller_is_told_how_it_came_out_and_how_long_it_took() {
        let done = Finished { text: "done in 0.8 s: db-1 leads".into(), end: End::Done };
        assert_eq!(told(Outcome::Done), done);
        assert_eq!(told(Outcome::Refused).text, "refused: db-1 leads");
        assert_eq!(told(Outcome::Refused).end, End::Refused);
        assert_eq!(told(Outcome::Reverted).end, End::Undone);
        assert_eq!(told(Outcome::Failed).end, End::Undone);
    }

    #[test]
    fn who_gets_no_answer_is_told_where_it_stands() {
        let request = Request { id: "r".into(), asked: Asked::Switchover { to: None } };
        let waited = Duration::from_secs(31);
        let nobody = not_answered(&request, false, "nobody leads", waited);
        assert_eq!(nobody.text, "no primary has taken the switchover up in 31 s: nobody leads");
        assert!(
            not_answered(&request, true, "", waited).text.starts_with("the switchover is still under way")
        );
        assert_eq!(nobody.end, End::Unknown);
    }
}
