//! What is shown while something takes its time: on stderr, and on a terminal only.

use std::future::Future;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::time::timeout;

/// What is over sooner needs no sign of life.
const SOON: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// Waits for `work`, and shows `message` once that takes longer than two seconds.
pub async fn show<T>(message: &'static str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = timeout(SOON, work.as_mut()).await {
        return done;
    }
    let bar = spinner(message);
    let done = work.await;
    bar.finish_and_clear();
    done
}

/// Returns a sign of life that turns until it is finished.
pub fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(TICK);
    bar
}
