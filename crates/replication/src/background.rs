//! Long work on a thread that stands back behind everything else.
//!
//! Threads inherit the priority of the one that starts them, and the raft thread's is above that of
//! the threads that serve clients: on a runtime's pool, long work would come before both.

use std::io;

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own, at a low priority. What is dropped in `work` is dropped there.
///
/// # Errors
///
/// If no thread can be had, or it panicked.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        let me = Some(rustix::thread::gettid());
        if rustix::process::getpriority_process(me).is_ok_and(|own| own < NICE) {
            // Lower is always allowed.
            let _ = rustix::process::setpriority_process(me, NICE);
        }
        // Whoever asked may have gone.
        let _ = sender.send(work());
    })?;
    done.await.map_err(io::Error::other)
}

/// About a third of what a thread that serves clients gets while both want a processor.
const NICE: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_stands_back() {
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let own = nice();
        assert_eq!(run("test", nice).await.unwrap(), NICE.max(own));
        assert_eq!(nice(), own);
    }
}
