//! Progress bars, on stderr, and only if a person is looking at it.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressStyle};
use tesseras_rpc::messages::{Progress, Unit};

const BYTES: &str =
    "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes} ({binary_bytes_per_sec}, {eta} left)";
const ITEMS: &str = "{msg} [{bar:30}] {pos} of {len}";
const UNKNOWN: &str = "{spinner} {msg}";

/// A bar whose stage changes; gone from the terminal when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    stage: String,
    template: &'static str,
}

impl Bar {
    /// A bar that shows nothing yet.
    pub fn new() -> Self {
        // Draws to stderr, and hides itself where that is no terminal.
        let bar = ProgressBar::no_length().with_style(style(UNKNOWN));
        Self { bar, stage: String::new(), template: "" }
    }

    /// Shows how far a stage is.
    pub fn show(&mut self, progress: &Progress) {
        let template = match (progress.total, progress.unit) {
            (0, _) => UNKNOWN,
            (_, Unit::Bytes) => BYTES,
            (_, Unit::Items) => ITEMS,
        };
        if template != self.template || progress.stage != self.stage {
            self.template = template;
            self.stage.clone_from(&progress.stage);
            self.bar.set_style(style(template));
            self.bar.set_message(printable(&progress.stage).into_owned());
            // Rate and time left are those of this stage.
            self.bar.reset();
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar over the bytes of files on this disk.
#[derive(Debug)]
pub struct FileBar {
    bar: Bar,
    progress: Progress,
}

impl FileBar {
    /// A bar for a stage such as "reading".
    pub fn new(stage: &str) -> Self {
        let stage = stage.to_owned();
        Self { bar: Bar::new(), progress: Progress { stage, done: 0, total: 0, unit: Unit::Bytes } }
    }
}

impl tesseras_capsule::Progress for FileBar {
    fn begin(&mut self, bytes: u64, _files: usize) {
        self.progress.done = 0;
        self.progress.total = bytes;
        self.bar.show(&self.progress);
    }

    fn advance(&mut self, bytes: u64) {
        self.progress.done += bytes;
        self.progress.total = self.progress.total.max(self.progress.done);
        self.bar.show(&self.progress);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A stage without anything that could disturb a terminal.
fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.chars().filter(|c| !c.is_control()).collect())
    } else {
        Cow::Borrowed(text)
    }
}
