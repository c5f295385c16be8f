//! The process, by the names that Prometheus' own clients have for it. Read from
//! `/proc`: where there is none, nothing is shown.

use std::{fmt::Write as _, fs};

/// In how many parts a second of CPU time is counted, on all that Linux runs on.
const TICKS: f64 = 100.0;

/// In Prometheus' text format. Written by hand, because its counters of seconds have
/// fractions.
pub(super) fn render() -> String {
    let mut text = String::new();
    let mut show = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Text takes whatever is written to it.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    show("process_cpu_seconds_total", "counter", "CPU time of the process, in user and in system mode", cpu(&stat));
    let began = boot().zip(ticks(&stat, STARTED)).map(|(boot, since)| boot + since / TICKS);
    show("process_start_time_seconds", "gauge", "When the process began, since 1970", began);
    show("process_resident_memory_bytes", "gauge", "Memory that the process has", size(&status, "VmRSS:"));
    show("process_virtual_memory_bytes", "gauge", "Addresses that the process has", size(&status, "VmSize:"));
    show("process_threads", "gauge", "Threads of the process", number(&status, "Threads:"));
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| float(files.count()));
    show("process_open_fds", "gauge", "Files that the process has open; TCP connections, most of them", files);
    show("process_max_fds", "gauge", "Files that it may have open", max_files());
    text
}

/// Places in `/proc/self/stat`, counted from 1. Source: proc_pid_stat(5).
const USER: usize = 14;
const SYSTEM: usize = 15;
const STARTED: usize = 22;

/// A number of ticks out of `/proc/self/stat`, whose second field is a name in
/// parentheses that may have anything in it.
fn ticks(stat: &str, place: usize) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(place - 3)?.parse().ok()
}

fn cpu(stat: &str) -> Option<f64> {
    Some((ticks(stat, USER)? + ticks(stat, SYSTEM)?) / TICKS)
}

/// When the machine began, in seconds since 1970.
fn boot() -> Option<f64> {
    number(&fs::read_to_string("/proc/stat").ok()?, "btime")
}

/// The number that follows this at a line's beginning.
fn number(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The same in bytes, of one in kibibytes.
fn size(text: &str, name: &str) -> Option<f64> {
    number(text, name).map(|kibibytes| kibibytes * 1_024.0)
}

/// None where there is no limit.
fn max_files() -> Option<f64> {
    number(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

#[allow(clippy::cast_precision_loss)] // No count here comes near 2^52.
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 123456 1 1 1";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(ticks(stat, STARTED), Some(123_456.0));
        assert_eq!(size("VmSize:\t 8 kB\nVmRSS:\t    3 kB\n", "VmRSS:"), Some(3_072.0));
        assert_eq!((cpu(""), number("", "Threads:")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_shown() {
        let text = render();
        let value = |name: &str| number(&text, &format!("{name} ")).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_threads") >= 1.0);
        assert!(value("process_start_time_seconds") > 1.6e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
