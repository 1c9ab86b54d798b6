//! What the user sees while long things run: a spinner on a terminal, plain lines with the elapsed time elsewhere.

use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Without a terminal a stage that is still running says so this often.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Where progress is shown. Cheap to clone; all clones share one display and one clock.
#[derive(Clone)]
pub struct Progress {
    started: Instant,
    output: Output,
}

#[derive(Clone)]
enum Output {
    Terminal(MultiProgress),
    Lines,
    Quiet,
}

impl Progress {
    /// Spinners when standard error is a terminal, else lines.
    pub fn new() -> Self {
        let output = if std::io::stderr().is_terminal() {
            Output::Terminal(MultiProgress::new())
        } else {
            Output::Lines
        };
        Self { started: Instant::now(), output }
    }

    /// Shows nothing.
    pub fn quiet() -> Self {
        Self { started: Instant::now(), output: Output::Quiet }
    }

    /// Time since this display was made.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line of its own.
    pub fn say(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        match &self.output {
            Output::Lines => write_line(&format!("[{:>7}] {text}", seconds(self.elapsed()))),
            Output::Terminal(_) | Output::Quiet => self.write(text),
        }
    }

    /// A line that begins a new part, after an empty one.
    pub fn heading(&self, text: impl AsRef<str>) {
        if !matches!(self.output, Output::Quiet) {
            self.write(&format!("\n== {}", text.as_ref()));
        }
    }

    /// One line as it is, without the time.
    pub fn plain(&self, text: impl AsRef<str>) {
        self.write(text.as_ref());
    }

    fn write(&self, text: &str) {
        match &self.output {
            Output::Terminal(display) => {
                if display.println(text).is_err() {
                    write_line(text);
                }
            }
            Output::Lines => write_line(text),
            Output::Quiet => {}
        }
    }

    /// Starts a stage: it is shown as running until it is dropped or ended.
    pub fn stage(&self, name: impl Into<String>) -> Stage {
        let name = name.into();
        let detail = Arc::new(Mutex::new(String::new()));
        let running = Arc::new(AtomicBool::new(true));
        let bar = match &self.output {
            Output::Terminal(display) => Some(spinner(display, &name)),
            Output::Lines => {
                self.say(format!("{name} ..."));
                self.heartbeat(&name, Arc::clone(&detail), Arc::clone(&running));
                None
            }
            Output::Quiet => None,
        };
        Stage { name, progress: self.clone(), started: Instant::now(), bar, detail, running }
    }

    fn heartbeat(&self, name: &str, detail: Arc<Mutex<String>>, running: Arc<AtomicBool>) {
        let (progress, name, started) = (self.clone(), name.to_owned(), Instant::now());
        std::thread::spawn(move || {
            let mut next = HEARTBEAT;
            while running.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(250));
                if started.elapsed() >= next && running.load(Ordering::Relaxed) {
                    let detail = detail.lock().map(|text| text.clone()).unwrap_or_default();
                    progress
                        .say(format!("{name}: still running after {} {detail}", seconds(started.elapsed())));
                    next += HEARTBEAT;
                }
            }
        });
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// A stage that is running.
pub struct Stage {
    name: String,
    progress: Progress,
    started: Instant,
    bar: Option<ProgressBar>,
    detail: Arc<Mutex<String>>,
    running: Arc<AtomicBool>,
}

impl Stage {
    /// Says what the stage does right now.
    pub fn update(&self, detail: impl Into<String>) {
        let detail = detail.into();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.name));
        }
        if let Ok(mut held) = self.detail.lock() {
            *held = format!("({detail})");
        }
    }

    /// Ends the stage and says how long it took.
    pub fn done(self) {
        self.finish_with("done");
    }

    /// Ends the stage as failed.
    pub fn failed(self) {
        self.finish_with("FAILED");
    }

    fn finish_with(mut self, how: &str) {
        self.end();
        self.progress.say(format!("{}: {how} in {}", self.name, seconds(self.started.elapsed())));
    }

    fn end(&mut self) {
        self.running.store(false, Ordering::Relaxed);
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

/// A duration as people read it: `0.4 s`, `12.3 s`, `4 min 05 s`.
pub fn seconds(duration: Duration) -> String {
    let total = duration.as_secs();
    if total < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", total / 60, total % 60)
    }
}

fn spinner(display: &MultiProgress, name: &str) -> ProgressBar {
    let bar = display.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn write_line(text: &str) {
    // A reader that went away is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_for_people() {
        assert_eq!(seconds(Duration::from_millis(350)), "0.3 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }
}
