//! How something under way is shown: on a terminal as one live line under the finished steps, else
//! as one plain line for every step.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::Timestamp;

use super::sight::Sight;
use crate::output::{self, Format};
use crate::words::{self, printable};

/// Between two plain lines about the same step.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Of the live line's spinner.
const TICK: Duration = Duration::from_millis(120);

const SPINNER: &str = "{spinner:.cyan} {prefix:34} {length:>9}  {wide_msg:.dim}";
// Shrinks to the width of the terminal, so that rate and time left are always seen.
const BAR: &str = "{spinner:.cyan} {prefix} {length:>6} [{wide_bar:.cyan/dim}] {msg}";

/// Shows what is seen, step after step.
pub(super) struct Display {
    current: Option<Current>,
    surface: Surface,
}

/// The step that is being shown.
struct Current {
    sight: Sight,
    begun: Instant,
}

enum Surface {
    Live(Live),
    Plain(Plain),
}

impl Display {
    /// Shows on standard output, unless that is for programs: then on standard error.
    pub(super) fn new(format: Format) -> Self {
        let to_stderr = format == Format::Json;
        let live = if to_stderr {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        let surface = if live {
            Surface::Live(Live {
                to_stderr,
                bar: None,
            })
        } else {
            Surface::Plain(Plain::new(to_stderr))
        };
        Self {
            current: None,
            surface,
        }
    }

    /// Something is under way.
    pub(super) fn show(&mut self, sight: &Sight) -> io::Result<()> {
        let same = self.current.as_ref();
        let same = same.is_some_and(|current| current.sight.label == sight.label);
        if !same {
            let current = self.current.as_ref();
            let well = current.is_none_or(|current| current.sight.is_done_before(sight));
            self.end(sight.since, well)?;
            let begun = begun(sight.since);
            match &mut self.surface {
                Surface::Live(live) => live.begin(sight, begun),
                Surface::Plain(plain) => plain.begin(sight)?,
            }
            let sight = sight.clone();
            self.current = Some(Current { sight, begun });
        }
        match &mut self.surface {
            Surface::Live(live) => live.update(sight),
            Surface::Plain(plain) => plain.update(sight)?,
        }
        Ok(())
    }

    /// Everything is done, at this time by the server's clock.
    pub(super) fn finish(&mut self, at: Option<Timestamp>) -> io::Result<()> {
        self.end(at, true)
    }

    /// The step that was shown last has failed.
    pub(super) fn fail(&mut self) -> io::Result<()> {
        self.end(None, false)
    }

    /// Something to tell that is not a step.
    pub(super) fn notice(&mut self, text: &str) -> io::Result<()> {
        match &mut self.surface {
            Surface::Live(live) => live.line(text),
            Surface::Plain(plain) => plain.line(text),
        }
    }

    /// Ends the step that is shown.
    fn end(&mut self, at: Option<Timestamp>, well: bool) -> io::Result<()> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        // The server's clock knows better than our looks, which come late.
        let exact = current.sight.since.zip(at);
        let exact = exact.and_then(|(since, at)| Duration::try_from(at.duration_since(since)).ok());
        let took = exact.unwrap_or_else(|| current.begun.elapsed());
        match &mut self.surface {
            Surface::Live(live) => live.end(&current.sight, took, well),
            Surface::Plain(_) => Ok(()),
        }
    }
}

/// When the step began, by our clock; now if the clocks disagree.
fn begun(since: Option<Timestamp>) -> Instant {
    let now = Instant::now();
    let age = since.and_then(|since| {
        let age = Timestamp::now().duration_since(since);
        Duration::try_from(age).ok()
    });
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// One live line under the finished steps.
struct Live {
    to_stderr: bool,
    bar: Option<ProgressBar>,
}

impl Live {
    fn begin(&mut self, sight: &Sight, begun: Instant) {
        let target = if self.to_stderr {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::stdout()
        };
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style(SPINNER))
            .with_prefix(printable(&sight.label))
            .with_elapsed(begun.elapsed());
        bar.enable_steady_tick(TICK);
        self.bar = Some(bar);
    }

    fn update(&mut self, sight: &Sight) {
        let Some(bar) = &self.bar else { return };
        let counted = sight
            .progress
            .as_ref()
            .filter(|progress| progress.total > 0);
        let message = match (counted, &sight.progress) {
            (Some(progress), _) | (None, Some(progress)) => words::progress(progress),
            (None, None) => {
                let parts = [sight.foretold.as_deref(), sight.reason.as_deref()];
                parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
            }
        };
        if let Some(progress) = counted {
            if bar.length().is_none() {
                bar.set_style(style(BAR));
            }
            bar.set_length(progress.total);
            bar.set_position(progress.bytes.min(progress.total));
        } else if bar.length().is_some() {
            bar.unset_length();
            bar.set_style(style(SPINNER));
        }
        bar.set_message(printable(&message).replace('\n', " "));
    }

    fn end(&mut self, sight: &Sight, took: Duration, well: bool) -> io::Result<()> {
        let mark = if well { "✓" } else { "✗" };
        let (label, took) = (printable(&sight.label), words::took(took));
        self.line(&format!("{mark} {label:34} {took:>9}"))?;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        Ok(())
    }

    fn line(&self, text: &str) -> io::Result<()> {
        let print = || write_line(self.to_stderr, text);
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants")
        .progress_chars("━╸─")
        .with_key(
            "length",
            |state: &ProgressState, line: &mut dyn std::fmt::Write| {
                // The line only grows in memory.
                let _ = line.write_str(&words::length(state.elapsed()));
            },
        )
}

/// One line for every step.
struct Plain {
    to_stderr: bool,
    begun: Instant,
    reason: Option<String>,
    last: Instant,
}

impl Plain {
    fn new(to_stderr: bool) -> Self {
        let now = Instant::now();
        Self {
            to_stderr,
            begun: now,
            reason: None,
            last: now,
        }
    }

    fn begin(&mut self, sight: &Sight) -> io::Result<()> {
        self.reason.clone_from(&sight.reason);
        match &sight.foretold {
            Some(foretold) => self.line(&format!("{} ({foretold})", sight.label)),
            None => self.line(&sight.label),
        }
    }

    /// Tells a new reason at once, and progress from time to time.
    fn update(&mut self, sight: &Sight) -> io::Result<()> {
        if let (Some(reason), true) = (&sight.reason, self.reason != sight.reason) {
            self.line(&format!("{}: {reason}", sight.label))?;
            self.reason = Some(reason.clone());
        }
        match &sight.progress {
            Some(progress) if self.last.elapsed() >= PLAIN_INTERVAL => {
                self.line(&format!("{}: {}", sight.label, words::progress(progress)))
            }
            _ => Ok(()),
        }
    }

    /// One line, with the time since the first.
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.last = Instant::now();
        let since = words::length(self.begun.elapsed());
        let text = printable(text).replace('\n', " ");
        write_line(self.to_stderr, &format!("[+{since}] {text}"))
    }
}

fn write_line(to_stderr: bool, text: &str) -> io::Result<()> {
    if to_stderr {
        eprintln!("{text}");
        return Ok(());
    }
    output::line(text)
}
