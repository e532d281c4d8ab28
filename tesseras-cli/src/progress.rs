//! How far a command is, on stderr: a bar where a person looks at it, a line every few seconds
//! where it goes to a file or to another program.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::{Term, measure_text_width};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tesseras_core::progress::{Meter, OnProgress, Progress, Unit};
use tokio::time::Instant;

use crate::human::size;
use crate::output;

/// The shortest time between two updates of a bar within a stage.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// The shortest time between two lines, and before the first: what ends sooner says nothing.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The width of a bar: a narrower one cannot be read, and a wider one shows nothing more.
const BAR_COLUMNS: RangeInclusive<usize> = 8..=30;

/// Shows one stage after the other. A bar is gone from the terminal when dropped.
#[derive(Debug)]
pub struct Bar(Shown);

#[derive(Debug)]
enum Shown {
    OnTerminal { bar: ProgressBar, stage: Cow<'static, str>, next: Instant },
    AsLines(Lines),
}

impl Bar {
    /// One that shows nothing yet.
    pub fn new() -> Self {
        let now = Instant::now();
        Self(if io::stderr().is_terminal() {
            let target = ProgressDrawTarget::term(Term::stderr(), 20);
            let bar = bar_on(target);
            Shown::OnTerminal { bar, stage: Cow::default(), next: now }
        } else {
            Shown::AsLines(Lines::new(now))
        })
    }

    /// Shows how far a stage is. Cheap enough for every block of a file.
    pub fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        match &mut self.0 {
            Shown::AsLines(lines) => {
                if let Some(line) = lines.line(progress, now) {
                    output::note(&line);
                }
            }
            Shown::OnTerminal { bar, stage, next } => {
                if *stage != progress.stage {
                    stage.clone_from(&progress.stage);
                    // Rate and time left are those of this stage.
                    bar.reset();
                } else if now < *next {
                    return;
                }
                *next = now + DRAW_EVERY;
                draw(bar, progress, Term::stderr().size().1.into());
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Shown::OnTerminal { bar, .. } = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Which lines are written, and when. Pure.
#[derive(Debug)]
struct Lines {
    next: Instant,
    last: String,
}

impl Lines {
    fn new(begin: Instant) -> Self {
        Self { next: begin + LINE_EVERY, last: String::new() }
    }

    /// The line that is due, unless it says nothing new.
    fn line(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        if now < self.next {
            return None;
        }
        self.next = now + LINE_EVERY;
        let line = text(progress);
        if line.is_empty() || line == self.last {
            return None;
        }
        self.last.clone_from(&line);
        Some(line)
    }
}

/// How far a stage is, in words. One that has nothing to count, or does not know how much, is only
/// named.
fn text(progress: &Progress) -> String {
    // What could disturb a terminal is left out.
    let stage: String = progress.stage.chars().filter(|c| !c.is_control()).collect();
    match (progress.total, progress.unit) {
        (0, _) => stage,
        (total, Unit::Bytes) => format!("{stage}: {} of {}", size(progress.done), size(total)),
        (total, Unit::Items) => format!("{stage}: {} of {total}", progress.done),
    }
}

/// How fast it is and how long it may still take; empty where nothing sensible can be said.
fn pace(bar: &ProgressBar, progress: &Progress) -> String {
    let rate = bar.per_sec();
    if progress.unit != Unit::Bytes || rate < 1.0 {
        return String::new();
    }
    let left = indicatif::HumanDuration(bar.eta());
    format!(" {}/s, {left:#} left", size(rate as u64))
}

/// A bar that is one message, so that it changes all at once, cut off at the terminal's edge.
fn bar_on(target: ProgressDrawTarget) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// Draws on a terminal of so many columns.
fn draw(bar: &ProgressBar, progress: &Progress, columns: usize) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    bar.set_message(picture(progress, &pace(bar, progress), columns));
}

/// The words, and beside them as much of a bar and of the pace as has room in so many columns.
fn picture(progress: &Progress, pace: &str, columns: usize) -> String {
    let text = text(progress);
    let room = columns.saturating_sub(measure_text_width(&text) + " []".len());
    if progress.total == 0 || room < *BAR_COLUMNS.start() {
        return text;
    }
    let beside = room.saturating_sub(measure_text_width(pace));
    let (room, pace) = if beside < *BAR_COLUMNS.start() { (room, "") } else { (beside, pace) };
    let width = room.min(*BAR_COLUMNS.end());
    let filled = width as u128 * u128::from(progress.done) / u128::from(progress.total);
    let mut bar = "=".repeat(usize::try_from(filled).map_or(width, |filled| filled.min(width)));
    if bar.len() < width {
        bar.push('>');
    }
    format!("{text} [{bar:width$}]{pace}")
}

/// Counts the bytes of files on this disk, and shows a bar of them until it is dropped.
pub fn file_meter(stage: &'static str) -> Meter {
    let bar = Mutex::new(Bar::new());
    let show = move |progress: Progress| {
        bar.lock().unwrap_or_else(PoisonError::into_inner).show(&progress);
    };
    Meter::new(stage, 0, &(Arc::new(show) as OnProgress))
}

#[cfg(test)]
mod tests {
    use indicatif::TermLike;
    use tesseras_core::units::MIB;

    use super::*;

    fn bytes(stage: &str, done: u64, total: u64) -> Progress {
        Progress { stage: stage.to_owned().into(), done, total, unit: Unit::Bytes }
    }

    /// A terminal that remembers every line that ever stood on it.
    #[derive(Debug, Clone)]
    struct Screen {
        columns: u16,
        text: Arc<Mutex<String>>,
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.columns
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.write_str("\n")
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.text.lock().expect("no panic").push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("\n")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// All lines that a terminal of so many columns shows, one after the other.
    fn drawn(stages: &[Progress], columns: u16) -> Vec<String> {
        let screen = Screen { columns, text: Arc::default() };
        let bar = bar_on(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        for progress in stages {
            bar.reset();
            draw(&bar, progress, columns.into());
            bar.force_draw();
        }
        let text = screen.text.lock().expect("no panic");
        text.lines().map(|line| line.trim_end().to_owned()).filter(|l| !l.is_empty()).collect()
    }

    #[test]
    fn no_line_is_wider_than_its_terminal() {
        let items = Progress { unit: Unit::Items, ..bytes("asking holders", 999_999, 1_000_000) };
        let stages = [
            bytes("finding holders", 0, 0),
            bytes("placing pieces", 120 * MIB, 300 * MIB),
            bytes("computing redundancy", 1023 * MIB, 1023 * 1024 * MIB),
            items,
            bytes(&"a long stage ".repeat(20), 1, 2),
            bytes("more than there was to be", 3, 2),
        ];
        for columns in [20, 40, 80, 200] {
            let lines = drawn(&stages, columns);
            assert!(lines.len() >= stages.len());
            for line in lines {
                let width = measure_text_width(&line);
                assert!(width <= columns.into(), "{width} of {columns}: {line:?}");
                assert!(line.is_ascii(), "{line:?}");
            }
        }
        for progress in &stages {
            for columns in 60..140 {
                let wide = picture(progress, " 1023.9 MiB/s, 59m left", columns);
                let text = measure_text_width(&text(progress));
                assert!(measure_text_width(&wide) <= columns.max(text), "{wide:?}");
            }
        }
    }

    #[test]
    fn what_matters_is_there_in_forty_columns_and_a_bar_in_eighty() {
        let progress = bytes("placing pieces", 120 * MIB, 300 * MIB);
        let text = "placing pieces: 120.0 MiB of 300.0 MiB";
        assert_eq!(drawn(std::slice::from_ref(&progress), 40).last().expect("a line"), text);
        let pace = " 12.0 MiB/s, 15s left";
        assert_eq!(picture(&progress, pace, 80), format!("{text} [=======>          ]{pace}"));
        let bar = format!("{text} [=====>       ]");
        assert_eq!(picture(&progress, pace, 54), bar);
    }

    #[test]
    fn a_stage_with_nothing_to_count_is_only_named() {
        assert_eq!(text(&bytes("finding holders", 0, 0)), "finding holders");
        assert_eq!(picture(&bytes("finding holders", 0, 0), "", 80), "finding holders");
    }

    #[test]
    fn a_line_comes_every_few_seconds_and_never_twice() {
        let begin = Instant::now();
        let mut lines = Lines::new(begin);
        let mut at =
            |millis, progress| lines.line(&progress, begin + Duration::from_millis(millis));
        assert_eq!(at(10, bytes("placing pieces", 0, 300 * MIB)), None);
        assert_eq!(at(4_990, bytes("placing pieces", 90 * MIB, 300 * MIB)), None);
        let line = at(5_100, bytes("placing pieces", 120 * MIB, 300 * MIB));
        assert_eq!(line.as_deref(), Some("placing pieces: 120.0 MiB of 300.0 MiB"));
        assert_eq!(at(9_000, bytes("placing pieces", 200 * MIB, 300 * MIB)), None);
        assert_eq!(at(10_200, bytes("placing pieces", 120 * MIB, 300 * MIB)), None);
        let line = at(15_300, bytes("asking holders", 0, 0));
        assert_eq!(line.as_deref(), Some("asking holders"));
    }
}
