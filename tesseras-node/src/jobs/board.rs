//! The state of all jobs of a node, for `tes status`, metrics and the log.

use std::sync::{Arc, Mutex};

use tesseras_core::lock::lock;
use tesseras_core::time::{Clock, Timestamp};
use tesseras_rpc::job::{JobOutcome, JobReport, JobState};

/// The state of each job. Cheap to clone; clones share their state.
#[derive(Debug, Clone)]
pub struct JobBoard {
    reports: Arc<Mutex<Vec<JobReport>>>,
    clock: Clock,
}

/// What is logged about an outcome; only changes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It failed, or this node's clock prevents its work.
    Trouble,
    /// It works again.
    Over,
}

impl JobBoard {
    /// An empty board. The clock dates the states.
    pub fn new(clock: Clock) -> Self {
        Self { reports: Arc::default(), clock }
    }

    /// Every job, in the order of their first mention.
    pub fn reports(&self) -> Vec<JobReport> {
        lock(&self.reports).clone()
    }

    /// A job waits or runs from now on.
    pub fn begin(&self, name: &'static str, state: JobState) {
        let now = self.clock.now();
        let mut reports = lock(&self.reports);
        let report = of(&mut reports, name, now);
        (report.state, report.since) = (state, now);
    }

    /// A run of a job has ended; it waits from now on. Logs the first failure and the recovery.
    pub fn end(&self, name: &'static str, outcome: JobOutcome) {
        let now = self.clock.now();
        let mut reports = lock(&self.reports);
        let report = of(&mut reports, name, now);
        match news(report.outcome.as_ref(), &outcome) {
            Some(News::Trouble) => tracing::warn!(job = name, %outcome, "a job is in trouble"),
            Some(News::Over) => tracing::info!(job = name, %outcome, "a job is well again"),
            None => {}
        }
        report.consecutive_failures = match outcome.is_failure() {
            true => report.consecutive_failures.saturating_add(1),
            false => 0,
        };
        (report.state, report.since, report.outcome) = (JobState::Waiting, now, Some(outcome));
    }
}

/// The report of a job; a new one if there is none.
fn of<'a>(
    reports: &'a mut Vec<JobReport>,
    name: &'static str,
    now: Timestamp,
) -> &'a mut JobReport {
    let at = reports.iter().position(|report| report.name == name).unwrap_or(reports.len());
    if at == reports.len() {
        let state = JobState::Waiting;
        let name = name.to_owned();
        reports.push(JobReport { name, state, since: now, outcome: None, consecutive_failures: 0 });
    }
    &mut reports[at]
}

fn news(before: Option<&JobOutcome>, now: &JobOutcome) -> Option<News> {
    match (before.is_some_and(JobOutcome::is_trouble), now.is_trouble()) {
        (false, true) => Some(News::Trouble),
        (true, false) => Some(News::Over),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tesseras_core::ports::StoreError;
    use tesseras_core::time::ClockOffset;

    use super::super::outcome;
    use super::*;

    fn lines(board: &JobBoard) -> Vec<String> {
        board.reports().iter().map(JobReport::to_string).collect()
    }

    fn failed() -> JobOutcome {
        let source = std::io::Error::other("the disk is gone").into();
        let error = StoreError::Backend { what: "reading".to_owned(), source };
        outcome::of(Err(error.into()))
    }

    fn announced(seconds: Option<i64>) -> JobOutcome {
        let clock = seconds.map(|seconds| ClockOffset { seconds, witnesses: 3 });
        JobOutcome::Announced { tesserae: 1, clock }
    }

    fn repaired(failed: u64) -> JobOutcome {
        JobOutcome::Repaired { checked: 3, restored: 1, failed, put_off: 0, clock: None }
    }

    #[test]
    fn a_job_is_told_with_its_state_its_outcome_and_how_often_it_failed() {
        let now = Arc::new(AtomicU64::new(100));
        let clock = Clock::new({
            let now = now.clone();
            move || Timestamp(now.load(Ordering::Relaxed))
        });
        let board = JobBoard::new(clock);
        board.begin("repair", JobState::Waiting);
        board.begin("announce", JobState::Waiting);
        assert_eq!(lines(&board), ["repair: waiting", "announce: waiting"]);
        now.store(150, Ordering::Relaxed);
        board.begin("repair", JobState::Running);
        let [repair, announce] = &board.reports()[..] else { panic!("two jobs") };
        assert_eq!((repair.state, repair.since), (JobState::Running, Timestamp(150)));
        assert_eq!((announce.state, announce.since), (JobState::Waiting, Timestamp(100)));
        assert_eq!(lines(&board)[0], "repair: running");
        for (outcome, failures) in
            [(repaired(1), 1), (failed(), 2), (repaired(0), 0), (failed(), 1)]
        {
            board.end("repair", outcome);
            assert_eq!(board.reports()[0].consecutive_failures, failures);
        }
        assert!(lines(&board)[0].starts_with("repair: failed: reading"), "{:?}", lines(&board));
    }

    #[test]
    fn the_log_is_told_once_when_trouble_begins_and_once_when_it_is_over() {
        let runs = [
            announced(None),
            announced(Some(-7200)),
            announced(Some(-7201)),
            announced(None),
            repaired(0),
            repaired(2),
            failed(),
            JobOutcome::NoPeers,
        ];
        let mut before = None;
        let mut told = Vec::new();
        for (number, outcome) in runs.iter().enumerate() {
            told.extend(news(before, outcome).map(|news| (number, news)));
            before = Some(outcome);
        }
        let expected = [(1, News::Trouble), (3, News::Over), (5, News::Trouble), (7, News::Over)];
        assert_eq!(told, expected);
    }
}
