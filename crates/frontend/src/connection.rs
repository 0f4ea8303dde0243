//! The socket side of one client: moves bytes between a stream and a [`Session`].

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, sleep_until, timeout};

use crate::backend::Backend;
use crate::budget::{ALWAYS_LEN, Account};
use crate::buffer::{InputBuffer, READ_LEN};
use crate::clock::coarse_ms;
use crate::idle::Idle;
use crate::registry::{Entry, State};
use crate::server::Context;
use crate::session::{Need, Session};
use crate::stall::Stall;

/// Serves one client until it hangs up, asks to quit, or the node shuts down.
///
/// Generic over the stream, so that tests can use a pipe.
///
/// # Errors
///
/// Only what the stream returns; protocol errors are answered, not raised.
pub(crate) async fn serve<S, B>(
    stream: S,
    backend: B,
    context: Context,
    entry: Arc<Entry>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Backend,
{
    let shared = context.shared.clone();
    let mut drain = pin!(shared.drain_started());
    // Polled once, it wakes this task when draining starts.
    poll_fn(|cx| {
        let _ = drain.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;

    let mut connection = Connection {
        stream,
        session: Session::new(backend.clone(), context.clone(), entry.fd()),
        input: InputBuffer::default(),
        input_ended: false,
        closing: Closing::NotYet,
        idle: shared.options.idle_timeout.map(Idle::new),
        account: context.open_account(),
        starved: false,
        stall: None,
        moved_len: 0,
        read_at_ms: 0,
        context,
        entry,
    };
    connection.wait(Need::Input).await?;
    if connection.input.filled().starts_with(TLS_HANDSHAKE) {
        // No request begins like this, and who does so waits for no answer that this can give.
        return linger(&mut connection.stream).await;
    }
    loop {
        let need = connection.step();
        match need {
            Need::AllAnswers | Need::AnAnswer | Need::Flush => connection.wait(need).await?,
            Need::Input | Need::Watch if connection.is_ending() => return connection.end().await,
            Need::Input => connection.wait(need).await?,
            Need::Close => {
                if connection.session.was_refused() {
                    connection.entry.refuse();
                }
                return connection.wait(need).await;
            }
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
            Need::Certs => {
                connection.wait(Need::Flush).await?;
                let read = shared.refresh_certs().await;
                connection.session.certs_read(read.map_err(|error| error.to_string()));
            }
            Need::Watch => connection.watch().await?,
            Need::Yield => {
                connection.wait(Need::Flush).await?;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Closes: the client is told first, and what it sends meanwhile is dropped.
///
/// A socket that is closed with something unread resets the connection, and the last replies may
/// be lost with it.
pub(crate) async fn linger<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ended = async {
        stream.shutdown().await?;
        let mut dropped = [0; 1024];
        while stream.read(&mut dropped).await? != 0 {}
        Ok(())
    };
    timeout(LINGER, ended).await.unwrap_or(Ok(()))
}

struct Connection<S, B: Backend> {
    stream: S,
    session: Session<B>,
    input: InputBuffer,
    /// The client sends no more.
    input_ended: bool,
    closing: Closing,
    /// Watches for the client's silence, if anybody cares.
    idle: Option<Idle>,
    /// What it holds in buffers.
    account: Account,
    /// It does not read because there is no room for more.
    starved: bool,
    /// There while it holds much, or is starved.
    stall: Option<Stall>,
    /// Bytes read and written.
    moved_len: u64,
    /// When it last read, by [`coarse_ms`]; kept only with `idle`.
    read_at_ms: u64,
    context: Context,
    /// How `stats conns` sees it.
    entry: Arc<Entry>,
}

/// How far a connection is at the node's shutdown.
///
/// ```text
///   NotYet ──drain──▶ Waits ──turn──▶ Due ──quiet for a while, or too long──▶ Now
/// ```
///
/// A client cannot know whether a request that was never answered was executed, so a connection
/// closes where there is none: all that has arrived is answered, and nothing has come since. The
/// protocol has no word for "I am leaving": a request can still cross the end on the wire.
enum Closing {
    /// There is no shutdown.
    NotYet,
    /// Requests are still taken until it is this connection's turn.
    Waits(Pin<Box<Sleep>>),
    /// It closes between two requests.
    Due {
        /// Or then.
        limit: Pin<Box<Sleep>>,
        /// While all is answered and nothing comes: until when that must last.
        quiet: Option<Pin<Box<Sleep>>>,
    },
    /// What has been executed is answered, then it closes.
    Now,
}

impl<S, B> Connection<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Backend,
{
    /// True when no more input is wanted: what has been executed is answered, then it closes.
    fn is_ending(&self) -> bool {
        self.input_ended || matches!(self.closing, Closing::Now)
    }

    /// Executes what can be executed.
    fn step(&mut self) -> Need {
        self.entry.enter(State::Executing);
        let before_len = self.input.len();
        let need = self.session.step(&mut self.input);
        if self.input.len() != before_len {
            self.entry.asked();
        }
        need
    }

    /// Says what it is waiting for, when it does.
    fn rest(&self, need: Need) {
        self.entry.enter(match need {
            Need::AllAnswers
            | Need::AnAnswer
            | Need::Barrier
            | Need::Certs
            | Need::Room
            | Need::Yield => State::Executing,
            _ if self.session.owes_answers() => State::Executing,
            _ if self.session.output.len() != 0 => State::Replying,
            Need::Input if self.waits_for_value() => State::ReceivingValue,
            Need::Close | Need::Flush | Need::Input | Need::Watch => State::Idle,
        });
    }

    /// Whether the length of what is missing is known: of a line, only one more byte is asked for.
    fn waits_for_value(&self) -> bool {
        let len = self.input.len();
        0 < len && len + 1 < self.session.input_len_needed()
    }

    /// Answers what there is to be answered, and closes.
    async fn end(&mut self) -> io::Result<()> {
        self.wait(Need::Close).await?;
        if self.input_ended { Ok(()) } else { linger(&mut self.stream).await }
    }

    /// Waits for an event that the client watches, or for its end.
    async fn watch(&mut self) -> io::Result<()> {
        self.wait(Need::Flush).await?;
        let Some(watcher) = self.session.watcher() else { return Ok(()) };
        tokio::select! {
            () = watcher.filled.notified() => Ok(()),
            read = self.wait(Need::Input) => read,
        }
    }

    async fn wait(&mut self, need: Need) -> io::Result<()> {
        poll_fn(|cx| {
            let met = self.poll(cx, need);
            if met.is_pending() {
                self.rest(need);
                return self.poll_stall(cx, need);
            }
            met
        })
        .await
    }

    /// Keeps account of what is held while it waits. Ready when the connection has to end because
    /// others need the room and the client does not move.
    fn poll_stall(&mut self, cx: &mut TaskContext<'_>, need: Need) -> Poll<io::Result<()>> {
        let held = self.held();
        self.account.settle(held);
        if !self.starved && !self.account.is_large() {
            self.stall = None;
            return Poll::Pending;
        }
        let over = self.starved || !self.account.allows(held);
        let stall = self.stall.get_or_insert_with(|| Stall::new(self.moved_len));
        ready!(stall.poll(cx, self.moved_len, over));
        self.context.counters.read_buf_oom.add(1);
        let between_replies = need == Need::Input && self.session.output.len() == 0;
        if !between_replies || self.session.owes_answers() {
            // In the middle of a reply there is no place for an error.
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        if self.input.filled().first() != Some(&BINARY_REQUEST) {
            self.session.output.bytes().extend_from_slice(OUT_OF_MEMORY);
        }
        self.input = InputBuffer::default();
        (self.starved, self.stall) = (false, None);
        self.closing = Closing::Now;
        Poll::Ready(Ok(()))
    }

    /// Bytes held in buffers.
    fn held(&self) -> usize {
        self.input.held() + self.session.output.held()
    }

    /// Whether the client has to read before it may ask for more.
    fn must_read_first(&self) -> bool {
        let output = &self.session.output;
        output.is_full() || ALWAYS_LEN < output.len() && !self.account.allows(self.held())
    }

    /// Does whatever can be done with the stream and the pending writes; ready when `need` is met.
    ///
    /// A reply goes out as soon as it is known, all that are known together in one write, whatever
    /// is being waited for. Input is read only when it is needed, so that a client that asks faster
    /// than it is answered is slowed down by its own socket.
    fn poll(&mut self, cx: &mut TaskContext<'_>, need: Need) -> Poll<io::Result<()>> {
        self.poll_closing(cx);
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
            Need::Input if self.must_read_first() => false,
            Need::Input => return self.poll_input(cx, flushed),
            Need::Barrier | Need::Certs | Need::Flush | Need::Room | Need::Watch | Need::Yield => {
                flushed
            }
        };
        if met { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_closing(&mut self, cx: &mut TaskContext<'_>) {
        if let Closing::NotYet = self.closing
            && let Some(turn) = self.context.shared.take_turn_to_close()
        {
            self.closing = Closing::Waits(Box::pin(sleep_until(turn.into())));
        }
        if let Closing::Waits(turn) = &mut self.closing
            && turn.as_mut().poll(cx).is_ready()
        {
            // The other half is for answering.
            let limit = Box::pin(sleep(self.context.shared.options.drain_timeout / 2));
            self.closing = Closing::Due { limit, quiet: None };
        }
        if let Closing::Due { limit, .. } = &mut self.closing
            && limit.as_mut().poll(cx).is_ready()
        {
            self.closing = Closing::Now;
        }
    }

    /// Reads; at shutdown also ready when all is answered and nothing, not even a part of a request,
    /// has come for a while.
    fn poll_input(&mut self, cx: &mut TaskContext<'_>, flushed: bool) -> Poll<io::Result<()>> {
        let read = self.poll_read(cx);
        let answered = flushed && !self.session.owes_answers() && self.input.len() == 0;
        if let Closing::Due { quiet, .. } = &mut self.closing {
            if read.is_ready() || !answered {
                *quiet = None;
                return read;
            }
            let quiet = quiet.get_or_insert_with(|| Box::pin(sleep(QUIET)));
            ready!(quiet.as_mut().poll(cx));
            self.closing = Closing::Now;
            return Poll::Ready(Ok(()));
        }
        if let Some(idle) = &mut self.idle
            && read.is_pending()
            && flushed
            && !self.session.owes_answers()
        {
            let heard_at_ms = self.entry.asked_at_ms().max(self.read_at_ms);
            ready!(idle.poll(cx, heard_at_ms));
            self.context.counters.idle_kicks.add(1);
            self.closing = Closing::Now;
            return Poll::Ready(Ok(()));
        }
        read
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
            self.moved_len += len as u64;
            output.sent(len);
        }
        // TLS may keep the end of it; a socket has nothing to do here.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Reads once. A short read tells tokio that there is no more, so that waiting for the next
    /// request costs no read in vain.
    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let needed = self.session.input_len_needed();
        let next_len = self.input.next_len(needed);
        if READ_LEN < next_len && self.input.held() < next_len {
            let held = self.session.output.held() + next_len;
            self.starved = !self.account.allows(held);
            if self.starved {
                return Poll::Pending;
            }
            self.account.settle(held);
        }
        let mut buffer = ReadBuf::new(self.input.spare(needed));
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
        self.moved_len += len as u64;
        if self.idle.is_some() && self.waits_for_value() {
            self.read_at_ms = coarse_ms();
        }
        Poll::Ready(Ok(()))
    }
}

/// Said before the end to a client that sent too slowly when there was no room.
const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";
/// A request that begins with it is binary.
const BINARY_REQUEST: u8 = 0x80;
/// A client that speaks TLS where it is not spoken says this first: a record of a handshake.
const TLS_HANDSHAKE: &[u8] = &[0x16, 0x03];
/// Far longer than a busy client takes to send its next request.
const QUIET: Duration = Duration::from_millis(2);
/// After the node's end of a connection is closed, for the client to close its own.
const LINGER: Duration = Duration::from_millis(100);
