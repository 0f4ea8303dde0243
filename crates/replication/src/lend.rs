//! A stream that is lent to somebody, and taken back.
//!
//! openraft hands out a stream of requests that holds a lock of openraft's from the moment it is
//! asked for an item until there is one, and asks for the same lock before it begins the next
//! stream. The stream lies in the body of an HTTP/2 request, which lives on after its answers are
//! dropped and is not polled while the peer takes nothing. Without an end to the loan, replication
//! to a follower that stood still at the wrong moment would stop for good. Simulation, seeds 174
//! and 205.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;

/// Ends with the loan, in the hands of whoever has it.
pub(crate) struct Lent<S>(Arc<Shared<S>>);

/// When this is dropped the stream is dropped, too.
pub(crate) struct Loan<S>(Arc<Shared<S>>);

struct Shared<S> {
    stream: Mutex<Option<S>>,
    polled_by: AtomicWaker,
}

pub(crate) fn lend<S>(stream: S) -> (Loan<S>, Lent<S>) {
    let stream = Mutex::new(Some(stream));
    let shared = Arc::new(Shared { stream, polled_by: AtomicWaker::new() });
    (Loan(Arc::clone(&shared)), Lent(shared))
}

impl<S: Stream + Unpin> Stream for Lent<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.polled_by.register(context.waker());
        match &mut *self.0.stream.lock() {
            Some(stream) => stream.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

impl<S> Drop for Loan<S> {
    fn drop(&mut self) {
        let stream = self.0.stream.lock().take();
        self.0.polled_by.wake();
        drop(stream);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use tokio::sync::Mutex as AsyncMutex;

    use super::*;

    /// As openraft's: it holds `lock` while it waits for an item.
    fn locking(lock: &Arc<AsyncMutex<()>>) -> impl Stream<Item = ()> + Unpin + use<> {
        let lock = Arc::clone(lock);
        let item = async move {
            let _held = lock.lock().await;
            std::future::pending::<()>().await;
        };
        stream::once(Box::pin(item))
    }

    #[tokio::test]
    async fn a_lock_is_free_after_the_loan_though_nobody_polls() {
        let lock = Arc::default();
        let (loan, mut lent) = lend(locking(&lock));
        assert!(lent.next().now_or_never().is_none());
        assert!(lock.try_lock().is_err(), "the stream holds the lock");
        drop(loan);
        assert!(lock.try_lock().is_ok(), "the lock is still held");
        assert_eq!(lent.next().await, None);
    }

    #[tokio::test]
    async fn who_waits_hears_of_the_end() {
        let (loan, mut lent) = lend(stream::pending::<()>());
        let waiting = tokio::spawn(async move { lent.next().await });
        tokio::task::yield_now().await;
        drop(loan);
        assert_eq!(waiting.await.ok(), Some(None));
    }
}
