//! Waiting on a level with a deadline. A failure says what was waited for and what was seen last.

use std::fmt::Write as _;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(100);

/// What one look at a condition found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It holds, with the value that shows it.
    Yes(T),
    /// It does not hold yet; the text says what is there instead.
    NotYet(String),
}

impl Seen<()> {
    /// `Yes` when `holds`, else `NotYet` with the given description of what is there.
    pub fn when(holds: bool, otherwise: impl Into<String>) -> Self {
        if holds { Seen::Yes(()) } else { Seen::NotYet(otherwise.into()) }
    }
}

/// Looks at `condition` until it holds or `deadline` has passed.
///
/// An error of `condition` counts as "not yet": what is asked may be just what is being restarted.
///
/// # Errors
/// When the deadline passes; the message has `what` and the last thing seen.
pub async fn until<T, F, Fut>(what: &str, deadline: Duration, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Seen<T>>>,
{
    let started = Instant::now();
    let mut last = String::from("nothing, not one look came back");
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        // A look may hang (a suspended API server): it may not hold the deadline up.
        match tokio::time::timeout(left.max(PAUSE), condition()).await {
            Ok(Ok(Seen::Yes(value))) => return Ok(value),
            Ok(Ok(Seen::NotYet(seen))) => last = seen,
            Ok(Err(error)) => last = describe(&error),
            Err(_) => {
                let _ = write!(last, " (and then one look hung)");
            }
        }
        if started.elapsed() >= deadline {
            bail!("waited {:.1} s for {what}; last seen: {last}", started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks at `condition` again and again for so long: the proof that nothing happens. Looks that fail say nothing.
///
/// # Errors
/// When it does not hold once; the message has `what` and what was seen instead.
pub async fn throughout<F, Fut>(what: &str, duration: Duration, mut condition: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Seen<()>>>,
{
    let started = Instant::now();
    while started.elapsed() < duration {
        let left = duration.saturating_sub(started.elapsed());
        if let Ok(Ok(Seen::NotYet(seen))) = tokio::time::timeout(left.max(PAUSE), condition()).await {
            bail!("{what} did not last: after {:.1} s {seen}", started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// [`until`] for code that runs outside any async runtime.
///
/// # Errors
/// When the deadline passes; the message has `what` and the last thing seen.
pub fn until_blocking<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = match condition() {
            Ok(Seen::Yes(value)) => return Ok(value),
            Ok(Seen::NotYet(seen)) => seen,
            Err(error) => describe(&error),
        };
        if started.elapsed() >= deadline {
            bail!("waited {:.1} s for {what}; last seen: {last}", started.elapsed().as_secs_f64());
        }
        std::thread::sleep(PAUSE / 2);
    }
}

fn describe(error: &anyhow::Error) -> String {
    format!("error: {error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_gives_its_value() {
        let mut looks = 0;
        let value = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            let seen = if looks == 3 { Seen::Yes(looks) } else { Seen::NotYet(format!("look {looks}")) };
            async move { Ok(seen) }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn a_deadline_that_passes_names_the_last_thing_seen() {
        let outcome: Result<()> =
            until("the moon", Duration::from_millis(1), || async { Ok(Seen::NotYet("a lamp".into())) }).await;
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("for the moon; last seen: a lamp"), "{message}");
    }

    #[tokio::test]
    async fn what_has_to_last_may_not_fail_once() {
        let lasts = || async { Ok(Seen::Yes(())) };
        throughout("a wall", Duration::from_millis(1), lasts).await.unwrap();
        let mut looks = 0;
        let outcome = throughout("a candle", Duration::from_secs(5), || {
            looks += 1;
            let seen = Seen::when(looks < 3, "smoke");
            async move { Ok(seen) }
        });
        assert!(outcome.await.unwrap_err().to_string().contains("smoke"));
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hold_the_deadline_up() {
        let outcome: Result<()> = until("an answer", Duration::from_millis(50), std::future::pending).await;
        assert!(outcome.unwrap_err().to_string().contains("one look hung"));
    }
}
