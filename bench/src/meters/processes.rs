//! CPU time and resident memory of processes and their descendants, from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use thiserror::Error;

/// Interval between samples of memory. A sample takes a millisecond or two.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Unit of CPU time in `/proc` (`USER_HZ`), which is 100 on all common Linux platforms.
const TICKS_PER_SECOND: f64 = 100.0;

/// Process that is watched, with its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedProcess {
    name: String,
    id: u32,
}

/// Error of a text that does not name a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a process id, or a name and a process id such as postgres=1234")]
pub struct NoProcess;

impl FromStr for WatchedProcess {
    type Err = NoProcess;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, id) = text.rsplit_once('=').unwrap_or((text, text));
        let id = id.parse().ok().filter(|id| *id > 0).ok_or(NoProcess)?;
        if name.is_empty() { Err(NoProcess) } else { Ok(Self { name: name.to_owned(), id }) }
    }
}

/// Usage of a process and its descendants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProcessReading {
    pub(crate) name: String,
    /// Since their start.
    pub(crate) cpu_seconds: f64,
    /// Peak since the previous reading, with shared memory counted once.
    pub(crate) resident_bytes_peak: u64,
}

/// Watches processes in a thread until it is dropped.
pub(crate) struct ProcessMeter {
    watched: Vec<WatchedProcess>,
    peaks: Arc<Mutex<Vec<u64>>>,
    _until_dropped: mpsc::Sender<()>,
}

impl ProcessMeter {
    /// Starts to watch processes, which must exist.
    pub(crate) fn start(watched: Vec<WatchedProcess>) -> anyhow::Result<Self> {
        for process in &watched {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.id));
            stat.with_context(|| format!("process {} cannot be watched", process.id))?;
        }
        let peaks = Arc::new(Mutex::new(vec![0; watched.len()]));
        let (until_dropped, dropped) = mpsc::channel();
        if !watched.is_empty() {
            let (watched, peaks) = (watched.clone(), Arc::clone(&peaks));
            let watch = move || {
                while let Err(RecvTimeoutError::Timeout) = dropped.recv_timeout(SAMPLE_INTERVAL) {
                    sample(&watched, &peaks);
                }
            };
            thread::Builder::new().name("bench-meter".to_owned()).spawn(watch).context("no thread")?;
        }
        Ok(Self { watched, peaks, _until_dropped: until_dropped })
    }

    /// Reads the usage so far, and resets the peaks.
    pub(crate) fn read(&self) -> Vec<ProcessReading> {
        if self.watched.is_empty() {
            return Vec::new();
        }
        let usages = sample(&self.watched, &self.peaks);
        let mut peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |((process, usage), peak): ((&WatchedProcess, Usage), &mut u64)| ProcessReading {
            name: process.name.clone(),
            cpu_seconds: usage.cpu_seconds,
            resident_bytes_peak: std::mem::replace(peak, usage.resident_bytes),
        };
        self.watched.iter().zip(usages).zip(peaks.iter_mut()).map(read).collect()
    }
}

/// Returns the CPU seconds of this program so far, or `None` without `/proc`.
pub(crate) fn own_cpu_seconds() -> Option<f64> {
    Some(Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?.cpu_seconds())
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
}

fn sample(watched: &[WatchedProcess], peaks: &Mutex<Vec<u64>>) -> Vec<Usage> {
    let stats = all_stats().unwrap_or_default();
    let usages: Vec<_> = watched.iter().map(|process| usage(process.id, &stats)).collect();
    let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
    for (peak, usage) in peaks.iter_mut().zip(&usages) {
        *peak = (*peak).max(usage.resident_bytes);
    }
    usages
}

/// Returns the usage of a process and its descendants. CPU time of ended processes is counted by the parent
/// that waited for them.
fn usage(root: u32, stats: &HashMap<u32, Stat>) -> Usage {
    let mut usage = Usage::default();
    let mut shared = Memory::default();
    for id in process_tree(root, stats) {
        usage.cpu_seconds += stats.get(&id).map_or(0.0, Stat::cpu_seconds);
        let memory = fs::read_to_string(format!("/proc/{id}/status")).map(|text| Memory::parse(&text));
        let memory = memory.unwrap_or_default();
        usage.resident_bytes += memory.own;
        shared.files = shared.files.max(memory.files);
        shared.segments = shared.segments.max(memory.segments);
    }
    usage.resident_bytes += shared.files + shared.segments;
    usage
}

fn process_tree(root: u32, stats: &HashMap<u32, Stat>) -> HashSet<u32> {
    let mut tree = HashSet::from([root]);
    loop {
        let before = tree.len();
        let children = stats.iter().filter(|(_, stat)| tree.contains(&stat.parent)).map(|(id, _)| *id);
        let children: Vec<u32> = children.collect();
        tree.extend(children);
        if tree.len() == before {
            return tree;
        }
    }
}

fn all_stats() -> io::Result<HashMap<u32, Stat>> {
    let stat = |entry: io::Result<fs::DirEntry>| {
        let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((id, Stat::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))
    };
    Ok(fs::read_dir("/proc")?.filter_map(stat).collect())
}

/// Fields of `/proc/ID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program is in parentheses, and may contain parentheses.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // User and kernel time of the process, and of the children that it has waited for.
        let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks })
    }

    fn cpu_seconds(&self) -> f64 {
        self.ticks as f64 / TICKS_PER_SECOND
    }
}

/// Fields of `/proc/ID/status`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    own: u64,
    /// Executables and libraries, which processes of the same program share.
    files: u64,
    /// Shared memory.
    segments: u64,
}

impl Memory {
    fn parse(text: &str) -> Self {
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        let bytes = |name| kib(name).unwrap_or(0) * 1024;
        Self { own: bytes("RssAnon:"), files: bytes("RssFile:"), segments: bytes("RssShmem:") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_may_have_a_name() {
        let process = |name: &str, id| Ok(WatchedProcess { name: name.to_owned(), id });
        assert_eq!("1234".parse(), process("1234", 1234));
        assert_eq!("postgres=12".parse(), process("postgres", 12));
        for text in ["", "=12", "a=", "a=b", "0", "-1"] {
            assert_eq!(text.parse::<WatchedProcess>(), Err(NoProcess), "{text}");
        }
    }

    #[test]
    fn files_of_the_kernel_are_parsed() {
        let text = "42 (a ) name) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 9 0 5 1 1";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 7, ticks: 124 }));
        assert_eq!(Stat::parse("42 (cut"), None);
        let text = "Name:\ta\nRssAnon:\t   2048 kB\nRssFile:\t 1 kB\nRssShmem:\t    1024 kB\n";
        let memory = Memory { own: 2 << 20, files: 1 << 10, segments: 1 << 20 };
        assert_eq!(Memory::parse(text), memory);
    }

    #[test]
    fn a_process_tree_contains_all_descendants() {
        let stat = |parent| Stat { parent, ticks: 0 };
        let stats = HashMap::from([(1, stat(0)), (4, stat(3)), (3, stat(2)), (2, stat(1)), (9, stat(1))]);
        assert_eq!(process_tree(2, &stats), HashSet::from([2, 3, 4]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn usage_of_this_process_is_measured() {
        let id = std::process::id();
        let meter = ProcessMeter::start(vec![WatchedProcess { name: "self".to_owned(), id }]).unwrap();
        let before = meter.read().remove(0);
        assert!(before.resident_bytes_peak > 1 << 20, "{before:?}");
        let mut sum = 0_u64;
        while meter.read()[0].cpu_seconds <= before.cpu_seconds {
            sum = std::hint::black_box((0..100_000).fold(sum, u64::wrapping_add));
        }
        assert!(own_cpu_seconds() > Some(before.cpu_seconds));
    }

    #[test]
    fn a_process_that_does_not_exist_is_refused() {
        let gone = WatchedProcess { name: "gone".to_owned(), id: u32::MAX };
        assert!(ProcessMeter::start(vec![gone]).is_err());
    }
}
