//! Restart policies: whether, and after how long.

use std::time::Duration;

use crate::config::RestartPolicy;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(60);
/// A run of that length was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// Docker's back-off.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    delay: Duration,
}

impl BackOff {
    /// How long to wait after a run that took `ran`.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD {
            self.delay = Duration::ZERO;
        }
        self.delay = if self.delay.is_zero() { FIRST } else { (self.delay * 2).min(LAST) };
        self.delay
    }
}

/// Whether a container that nobody stopped runs again after `exit_code`, having been restarted `count` times.
pub(crate) fn again(policy: RestartPolicy, exit_code: i32, count: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { maximum } => exit_code != 0 && (maximum == 0 || count < maximum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_to_a_minute_and_a_good_run_resets_it() {
        let mut back_off = BackOff::default();
        let delays: Vec<_> = (0..12).map(|_| back_off.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(back_off.after(GOOD).as_millis(), 100);
    }

    #[test]
    fn on_failure_counts() {
        let policy = RestartPolicy::OnFailure { maximum: 2 };
        assert!(again(policy, 1, 0) && again(policy, 1, 1));
        assert!(!again(policy, 1, 2) && !again(policy, 0, 0));
        assert!(again(RestartPolicy::OnFailure { maximum: 0 }, 1, 1000));
    }
}
