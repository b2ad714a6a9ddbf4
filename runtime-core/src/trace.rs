//! Where a command's time goes: what the runtime does, and every step of the processes that it makes, on one time line.
//!
//! Off, as it is until [`begin`] is called, it costs a look at one flag. On, the runtime keeps a list of spans; a child,
//! which may not allocate, notes when each of its steps ended, in memory that it shares with the runtime.
//!
//! All times are CLOCK_REALTIME: a time namespace shifts the others.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::child::tick;
use crate::plan::Plan;
use crate::sys::{self, SharedWords};

/// What took how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Operation and operand.
    pub name: String,
    /// Who did it.
    pub by: By,
    /// Its process, in the runtime's pid namespace.
    pub pid: i32,
    /// CLOCK_REALTIME, nanoseconds.
    pub begin: u64,
    /// CLOCK_REALTIME, nanoseconds.
    pub end: u64,
}

/// Which of the processes on a time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The runtime itself.
    Runtime,
    /// The process between it and init, where there is one.
    Hop,
    /// The container's process: the first one, or the one of `exec`.
    Init,
}

static ON: AtomicBool = AtomicBool::new(false);
static SEEN: Mutex<Seen> = Mutex::new(Seen { spans: Vec::new(), children: Vec::new() });

struct Seen {
    spans: Vec<Span>,
    children: Vec<Child>,
}

/// A process that notes the ends of its steps.
struct Child {
    by: By,
    pid: i32,
    clock: Clock,
    /// The step and the place of its end in the clock; its beginning is the place before.
    steps: Vec<(String, usize)>,
}

/// Switches it on, for all of this process.
pub fn begin() {
    ON.store(true, Ordering::Relaxed);
}

fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

fn seen<T>(with: impl FnOnce(&mut Seen) -> T) -> T {
    with(&mut SEEN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What begins now and ends when the result is dropped. `name` is only called when somebody wants to know.
#[must_use = "the span ends when this is dropped"]
pub fn span<N: Into<String>>(name: impl FnOnce() -> N) -> Option<Running> {
    is_on().then(|| Running { name: name().into(), begin: sys::now() })
}

/// A span that has not ended.
#[derive(Debug)]
pub struct Running {
    name: String,
    begin: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        add(Span { name, by: By::Runtime, pid: sys::getpid(), begin: self.begin, end: sys::now() });
    }
}

/// What was measured otherwise.
pub fn add(span: Span) {
    seen(|seen| seen.spans.push(span));
}

/// All that was seen since the last call, by beginning: of two that begin at once the longer one first. A step that has not
/// ended ends now.
#[must_use]
pub fn take() -> Vec<Span> {
    let (mut spans, children) = seen(|seen| (std::mem::take(&mut seen.spans), std::mem::take(&mut seen.children)));
    for Child { by, pid, clock, steps } in children {
        let time = |place: usize| clock.words().get(place).map(|word| word.load(Ordering::Acquire)).filter(|&t| t != 0);
        spans.extend(steps.into_iter().filter_map(|(name, place)| {
            let begin = time(place - 1)?;
            Some(Span { name, by, pid, begin, end: time(place).unwrap_or_else(sys::now) })
        }));
    }
    spans.sort_by_key(|span| (span.begin, std::cmp::Reverse(span.end)));
    spans
}

/// When the steps of init and of the hop ended: for each process a place for the beginning of its first step, and one for
/// the end of every step. First init's, then the hop's. 0: not yet.
///
/// Off, there are no places, and nobody looks at the time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Option<Arc<SharedWords>>);

impl Clock {
    /// For the processes of a plan. In `file` another command finds it again.
    pub(crate) fn new(plan: &Plan, file: Option<&Path>) -> Self {
        if !is_on() {
            return Clock::default();
        }
        let file = match file {
            Some(path) => File::options().read(true).write(true).create_new(true).open(path).map(OwnedFd::from).ok(),
            None => sys::memfd(c"clock").ok(),
        };
        let places = plan.init.len() + plan.hop.len() + 2;
        // Where there is no room for it, the time line is without these processes.
        Clock(file.and_then(|file| SharedWords::new(&file, places).ok()).map(Arc::new))
    }

    /// The one in a file, if there is one.
    pub(crate) fn open(path: &Path) -> Self {
        if !is_on() {
            return Clock::default();
        }
        let file = File::options().read(true).write(true).open(path).map(OwnedFd::from).ok();
        Clock(file.and_then(|file| SharedWords::open(&file).ok()).map(Arc::new))
    }

    fn words(&self) -> &[AtomicU64] {
        self.0.as_ref().map_or(&[], |words| words.words())
    }

    /// The places of init and of the hop.
    pub(crate) fn places(&self, init_steps: usize) -> (&[AtomicU64], &[AtomicU64]) {
        self.words().split_at_checked(init_steps + 1).unwrap_or_default()
    }

    /// A process that notes its steps here belongs to the time line. `steps` are its steps and their numbers, `first` is the
    /// place at which the first one of all begins.
    pub(crate) fn watch<N: ToString>(&self, by: By, pid: i32, first: usize, steps: impl Iterator<Item = (usize, N)>) {
        if self.0.is_some() {
            let steps = steps.map(|(index, name)| (name.to_string(), first + index + 1)).collect();
            seen(|seen| seen.children.push(Child { by, pid, clock: self.clone(), steps }));
        }
    }

    /// Init has executed its program, with its last step: it could not note that itself.
    pub(crate) fn executed(&self, init_steps: usize) {
        tick(self.words(), init_steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_others_are_on_the_time_line() {
        let words = SharedWords::new(&sys::memfd(c"clock").unwrap(), 5).unwrap();
        let clock = Clock(Some(Arc::new(words)));
        let (init, hop) = clock.places(2);
        assert_eq!((init.len(), hop.len()), (3, 2));
        (0..2).for_each(|place| tick(init, place));
        clock.watch(By::Init, 7, 0, ["a", "b", "c"].into_iter().enumerate());
        clock.watch(By::Hop, 6, 3, ["never begun"].into_iter().enumerate());
        let spans = take();
        let shown: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.by, span.pid)).collect();
        // The second one has begun and not ended.
        assert_eq!(shown, [("a", By::Init, 7), ("b", By::Init, 7)]);
        assert!(spans[0].end <= spans[1].begin && spans[1].begin <= spans[1].end, "{spans:?}");
        assert_eq!(take(), []);
    }
}
