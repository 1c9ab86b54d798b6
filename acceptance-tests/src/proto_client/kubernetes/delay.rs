//! Answers that come late, or never.

use std::time::Duration;

use super::FakeApi;

/// How long an answer takes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Delay {
    /// No time.
    #[default]
    None,
    /// So long.
    For(Duration),
    /// Nobody lives to see it.
    Forever,
}

impl FakeApi {
    /// From now on every answer takes so long.
    pub fn slow_down(&self, delay: Duration) {
        self.held().delay = Delay::For(delay);
    }

    /// From now on requests are taken and not answered; those that have come in already are.
    pub fn fall_silent(&self) {
        self.held().delay = Delay::Forever;
    }

    /// How many requests were left without an answer since it fell silent.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.held().hanging
    }

    pub(super) async fn take_time(&self) {
        let delay = self.held().delay;
        match delay {
            Delay::None => {}
            Delay::For(time) => tokio::time::sleep(time).await,
            Delay::Forever => {
                self.held().hanging += 1;
                std::future::pending::<()>().await;
            }
        }
    }
}
