//! The socket side of one client: moves bytes between a stream and a [`Session`].

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::Backend;
use crate::buffer::InputBuffer;
use crate::server::Context;
use crate::session::{Need, Session};

/// Serves one client until it hangs up, asks to quit, or the node shuts down.
///
/// Generic over the stream, so that tests can use a pipe.
///
/// # Errors
///
/// Only what the stream returns; protocol errors are answered, not raised.
pub(crate) async fn serve<S, B>(stream: S, backend: B, context: Context) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Backend,
{
    let shared = context.shared.clone();
    let mut drain = pin!(shared.drain_started());
    // Polled once, it wakes this task when draining starts; the flag is all that is looked at.
    poll_fn(|cx| {
        let _ = drain.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;

    let mut connection = Connection {
        stream,
        session: Session::new(backend.clone(), context.clone()),
        input: InputBuffer::default(),
        input_ended: false,
        context,
    };
    loop {
        let need = connection.session.step(&mut connection.input);
        match need {
            Need::AllAnswers | Need::AnAnswer | Need::Flush => connection.wait(need).await?,
            Need::Input if connection.is_ending() => return connection.wait(Need::Close).await,
            Need::Input => connection.wait(need).await?,
            Need::Close => return connection.wait(need).await,
            Need::Barrier => {
                connection.wait(Need::Flush).await?;
                let result = backend.read_barrier().await;
                connection.session.barrier_passed(result, &connection.input);
            }
            Need::Room => {
                connection.wait(Need::Flush).await?;
                if let Err(error) = backend.ready().await {
                    connection.session.no_room(error);
                }
            }
            Need::Yield => {
                connection.wait(Need::Flush).await?;
                tokio::task::yield_now().await;
            }
        }
    }
}

struct Connection<S, B: Backend> {
    stream: S,
    session: Session<B>,
    input: InputBuffer,
    /// The client sends no more.
    input_ended: bool,
    context: Context,
}

impl<S, B> Connection<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Backend,
{
    /// True when no more input is wanted: what has been executed is answered, then it closes.
    fn is_ending(&self) -> bool {
        self.input_ended || self.context.shared.draining()
    }

    async fn wait(&mut self, need: Need) -> io::Result<()> {
        poll_fn(|cx| self.poll(cx, need)).await
    }

    /// Does whatever can be done with the stream and the pending writes; ready when `need` is met.
    ///
    /// A reply goes out as soon as it is known, all that are known together in one write, whatever
    /// is being waited for. Input is read only when it is needed, so that a client that asks faster
    /// than it is answered is slowed down by its own socket.
    fn poll(&mut self, cx: &mut TaskContext<'_>, need: Need) -> Poll<io::Result<()>> {
        let mut answered = false;
        let flushed = loop {
            // Answering stops while the output is full, and goes on when the client has read.
            let was_full = self.session.output.is_full();
            let some = self.session.poll_answers(cx);
            answered |= some;
            let flushed = self.poll_flush(cx)?.is_ready();
            if !flushed || !(some || was_full) {
                break flushed;
            }
        };
        let met = match need {
            Need::AnAnswer => answered,
            Need::AllAnswers => !self.session.owes_answers(),
            Need::Close => !self.session.owes_answers() && flushed,
            Need::Input if self.is_ending() => true,
            Need::Input if self.session.output.is_full() => false,
            Need::Input => return self.poll_read(cx),
            Need::Barrier | Need::Flush | Need::Room | Need::Yield => flushed,
        };
        if met { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let output = &mut self.session.output;
        while output.len() != 0 {
            let stream = Pin::new(&mut self.stream);
            let len = ready!(match output.plain() {
                Some(plain) => stream.poll_write(cx, plain),
                None => stream.poll_write_vectored(cx, &output.slices()),
            })?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.context.counters.bytes_written.add(len as u64);
            output.sent(len);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once. A short read tells tokio that there is no more, so that waiting for the next
    /// request costs no read in vain.
    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(self.input.spare(self.session.input_len_needed()));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let len = buffer.filled().len();
        match read {
            Poll::Pending => {
                self.input.release();
                return Poll::Pending;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
        }
        self.input.fill(len);
        self.input_ended = len == 0;
        self.context.counters.bytes_read.add(len as u64);
        Poll::Ready(Ok(()))
    }
}
