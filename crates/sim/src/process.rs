//! One node's process: its runtime, whose clock stands still unless it is told to go on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use replication::{Fatal, Node, NodeConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep_until};

/// A process that runs a node.
pub struct Process {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    begun: Instant,
    /// Milliseconds that its clock has gone.
    elapsed_ms: u64,
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Default)]
struct Outcome {
    node: Option<Node>,
    ended: Option<String>,
}

impl Process {
    /// Starts a node. Nothing runs before [`Process::run`].
    ///
    /// # Errors
    ///
    /// If there is no runtime.
    pub fn start(seed: u64, config: NodeConfig) -> std::io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        seeded(&mut builder, seed);
        let runtime = builder.build()?;
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let told = Arc::clone(&outcome);
        runtime.spawn(live(config, told));
        let begun = runtime.block_on(async { Instant::now() });
        Ok(Self { runtime: Some(runtime), begun, elapsed_ms: 0, outcome })
    }

    /// Runs until the process's clock shows `until_ms` since its start.
    pub fn run(&mut self, until_ms: u64) {
        if let Some(runtime) = &self.runtime
            && self.elapsed_ms < until_ms
        {
            let until = self.begun + Duration::from_millis(until_ms);
            runtime.block_on(async move { sleep_until(until).await });
            self.elapsed_ms = until_ms;
        }
    }

    /// The clock goes on to `until_ms` and nothing runs: the process has been stopped meanwhile.
    pub fn skip(&mut self, until_ms: u64) {
        if let Some(runtime) = &self.runtime
            && self.elapsed_ms < until_ms
        {
            let pause = Duration::from_millis(until_ms - self.elapsed_ms);
            runtime.block_on(async move { advance(pause).await });
            self.elapsed_ms = until_ms;
        }
    }

    /// The node, once it has started.
    pub fn node(&self) -> Option<Node> {
        self.outcome.lock().node.clone()
    }

    /// Why the process has ended by itself, if it has.
    pub fn ended(&self) -> Option<String> {
        self.outcome.lock().ended.clone()
    }

    /// Runs `work` in the process; it dies with it.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Handles to the node keep its log open, and what they wait for will not come.
        self.outcome.lock().node = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a task has come to: `None` if it is still under way; `Some(None)` if it died.
pub fn poll_task<T>(task: &mut JoinHandle<T>) -> Option<Option<T>> {
    if !task.is_finished() {
        return None;
    }
    task.now_or_never().map(Result::ok)
}

async fn live(config: NodeConfig, outcome: Arc<Mutex<Outcome>>) {
    let (node, life) = match replication::start_here(config).await {
        Ok(started) => started,
        Err(error) => {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                why = format!("{why}: {error}");
                source = error.source();
            }
            outcome.lock().ended = Some(format!("did not start: {why}"));
            return;
        }
    };
    outcome.lock().node = Some(node.clone());
    let told = Arc::clone(&outcome);
    let watch = async move {
        let fatal = match node.serving().await {
            Err(fatal) => fatal,
            Ok(()) => node.stopped().await,
        };
        let why =
            if fatal == Fatal::Removed { "removed".to_owned() } else { format!("died: {fatal}") };
        // Whoever drives the process ends it: dropping raft from within is not what a process does.
        told.lock().ended = Some(why);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = life => {}
        () = watch => {}
    }
    outcome.lock().ended.get_or_insert_with(|| "stopped".to_owned());
}

#[cfg(tokio_unstable)]
fn seeded(builder: &mut Builder, seed: u64) {
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
}

/// Without `--cfg tokio_unstable` tokio draws from its own: runs are not repeatable.
#[cfg(not(tokio_unstable))]
fn seeded(_builder: &mut Builder, _seed: u64) {}
