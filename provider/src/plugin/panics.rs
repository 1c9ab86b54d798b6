//! Panics: those inside a call become an answer, all others are printed as the host wants to read them.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Installs the hook. A host shows the user what follows a line that begins with `panic: `, even without logging.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| {
        let place = describe(info);
        if CATCHING.get() {
            CAUGHT_AT.set(place);
            return;
        }
        eprintln!("panic: {place}\n\n{}", Backtrace::force_capture());
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let location = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
    format!("{}{location}", message(info.payload()))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs `call` and gives a panic in it as `Err(message and place)`.
pub async fn catch<F: Future>(call: F) -> Result<F::Output, String> {
    Catch(Box::pin(call)).await
}

struct Catch<F>(Pin<Box<F>>);

impl<F: Future> Future for Catch<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outer = CATCHING.replace(true);
        // A call that panicked is never polled again, so nothing can see its broken state.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)));
        CATCHING.set(outer);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => {
                let place = CAUGHT_AT.take();
                let text = if place.is_empty() { message(payload.as_ref()).to_owned() } else { place };
                Poll::Ready(Err(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_after_a_wait_is_caught_with_its_message() {
        let result: Result<u8, String> = catch(async {
            tokio::task::yield_now().await;
            panic!("broken {}", 7)
        })
        .await;
        assert!(result.unwrap_err().contains("broken 7"));
        assert_eq!(catch(async { 5 }).await, Ok(5));
    }

    #[test]
    fn other_panics_are_printed_as_hosts_look_for_them() {
        const AS_VICTIM: &str = "PGHA_TEST_PANICS";
        if std::env::var_os(AS_VICTIM).is_some() {
            install_hook();
            panic!("outside of any call");
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("plugin::panics::tests::other_panics_are_printed_as_hosts_look_for_them")
            .env(AS_VICTIM, "1")
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.lines().any(|line| line.starts_with("panic: outside of any call (")), "{printed}");
    }
}
