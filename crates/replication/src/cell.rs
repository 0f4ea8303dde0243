//! One result that many tasks wait for: a batch's outcomes, a read barrier.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

/// Completed once; every waiter gets a clone of the result.
#[derive(Debug)]
pub(crate) struct Cell<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    result: Option<T>,
    wakers: SmallVec<[Waker; 4]>,
}

impl<T: Clone> Cell<T> {
    /// A cell that nobody has completed.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { result: None, wakers: SmallVec::new() }) })
    }

    /// Sets the result, unless there is one, and wakes everybody.
    pub(crate) fn complete(&self, result: T) {
        let wakers = {
            let mut state = self.state.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The result, or a promise to wake. `slot` belongs to the waiter and starts as `None`.
    pub(crate) fn poll(&self, cx: &Context<'_>, slot: &mut Option<usize>) -> Poll<T> {
        let mut state = self.state.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        match slot.and_then(|slot| state.wakers.get_mut(slot)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *slot = Some(state.wakers.len());
                state.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Waits for the result.
    pub(crate) async fn wait(&self) -> T {
        let mut slot = None;
        std::future::poll_fn(|cx| self.poll(cx, &mut slot)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_gets_the_first_result() {
        let cell = Cell::new();
        let waiters: Vec<_> = (0..9)
            .map(|_| {
                let cell = Arc::clone(&cell);
                tokio::spawn(async move { cell.wait().await })
            })
            .collect();
        tokio::task::yield_now().await;
        cell.complete(1);
        cell.complete(2);
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), 1);
        }
        assert_eq!(cell.wait().await, 1);
    }
}
