//! Processor time that processes use.

use std::fs;

/// Ticks of the times in `/proc`, which Linux fixes for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the processor time that a process has used so far, in seconds; `None`: it cannot be read.
pub(crate) fn of(process_id: u32) -> Option<f64> {
    seconds(&fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?)
}

/// Reads user and system time from `/proc/<id>/stat` (proc_pid_stat(5), fields 14 and 15).
fn seconds(stat: &str) -> Option<f64> {
    // The name of the program is in parentheses, and may have spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "41 (a name) with) S 1 41 41 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 9 0 1 1 1";
        assert_eq!(seconds(stat), Some(3.0));
        assert_eq!(seconds("41 (cut) S 1 41"), None);
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let id = std::process::id();
        let before = of(id).expect("this process");
        let mut sum = 0_u64;
        while of(id).expect("this process") <= before {
            sum = (0..1_000_000_u64).fold(sum, u64::wrapping_add);
        }
        assert_eq!(of(u32::MAX), None);
    }
}
