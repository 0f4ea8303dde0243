//! What one client has asked for and not been told yet; everything of a connection but its socket.

use std::sync::Arc;
use std::task::Context as TaskContext;

use engine::UnixMillis;
use protocol::{KEY_LEN_MAX, Limits, Parser, ProtocolError, Refusal, ReplyTo, Request};

use crate::backend::{Backend, Full, Unavailable};
use crate::buffer::InputBuffer;
use crate::lower;
use crate::options::{Auth, Options};
use crate::output::Output;
use crate::pending::{Answer, Kind, Pending, unavailable};
use crate::server::{Context, Shared};
use crate::stats::prefixes::Asked;
use crate::watch::Watcher;

mod admin;
mod auth;
mod dump;
mod keys;
mod meta;
mod watching;

/// One client's requests, executed strictly in order.
///
/// [`Session::step`] does all that can be done without waiting and says what to wait for; the
/// connection waits, and calls it again. Replies collect in [`Session::output`].
///
/// Writes overlap: they are proposed as they come, up to a limit, and answered in order as their
/// outcomes arrive. Everything else waits for the writes before it. So a client reads its own
/// writes, `noreply` ones too, and replies never change places.
#[derive(Debug)]
pub(crate) struct Session<B: Backend> {
    backend: B,
    context: Context,
    parser: Parser,
    limits: Limits,
    pub(crate) output: Output,
    pending: Pending<B::Proposal>,
    /// Bytes still to arrive and to be dropped: the rest of a value that was refused.
    skip: usize,
    barrier: Option<Barrier>,
    /// How far the request at the front of the input has come, if it is half done.
    partial: Partial,
    /// Why the write at the front of the input cannot be proposed.
    no_room: Option<Unavailable>,
    /// Nothing more is executed; the connection closes when all is answered.
    closing: bool,
    /// That is because of what the client has sent.
    refused: bool,
    /// Requests since others were last let run.
    turn_count: usize,
    /// The descriptor, which events name.
    fd: i32,
    /// The client sees events from now on, and is asked nothing more.
    watcher: Option<Arc<Watcher>>,
    /// What became of reading the certificates again, which has been waited for.
    certs: Option<Result<bool, String>>,
    /// A SASL conversation has begun, and the client is to go on.
    sasl_started: bool,
}

/// What [`Session::step`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every pending write answered.
    AllAnswers,
    /// Another pending write answered.
    AnAnswer,
    /// The certificates to be read again; the result goes to [`Session::certs_read`].
    Certs,
    /// A read barrier; its result goes to [`Session::barrier_passed`].
    Barrier,
    /// Nothing: all is executed, and answered but for pending writes. Close after those.
    Close,
    /// The client to take what it has asked for.
    Flush,
    /// More input.
    Input,
    /// Room for a proposal; a failure goes to [`Session::no_room`].
    Room,
    /// An event that [`Session::watcher`] shows.
    Watch,
    /// A turn for the other connections.
    Yield,
}

/// A read barrier that was passed after the first `covers` bytes of the input had arrived.
#[derive(Debug)]
struct Barrier {
    covers: usize,
    result: Result<UnixMillis, Unavailable>,
}

/// A request of several keys that is half done.
#[derive(Debug, Clone, Copy)]
enum Partial {
    None,
    /// Keys of a text get from the byte at `from` are to be read yet, those before are answered.
    Get {
        from: usize,
        line_len: usize,
        reply_to: ReplyTo,
        at: UnixMillis,
    },
    /// Items are being shown.
    Dump(dump::Dump),
    /// So many keys of a `gat` have been proposed.
    GetAndTouch {
        proposed_count: usize,
    },
}

impl<B: Backend> Session<B> {
    pub(crate) fn new(backend: B, context: Context, fd: i32) -> Self {
        let options = &context.shared.options;
        let limits = Limits { item_len_max: options.item_len_max as u64, compat: options.compat };
        let output = Output::new(options.cas_disabled);
        Self {
            backend,
            parser: parser(options),
            context,
            limits,
            output,
            pending: Pending::default(),
            skip: 0,
            barrier: None,
            partial: Partial::None,
            no_room: None,
            closing: false,
            refused: false,
            turn_count: 0,
            fd,
            watcher: None,
            certs: None,
            sasl_started: false,
        }
    }

    /// How many bytes of input the request at its front needs before it can be executed.
    pub(crate) fn input_len_needed(&self) -> usize {
        self.parser.needed()
    }

    /// True while some write is not answered.
    pub(crate) fn owes_answers(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Answers writes whose outcomes have arrived; returns whether there were any. If not, the
    /// task is woken when there is one.
    pub(crate) fn poll_answers(&mut self, cx: &mut TaskContext<'_>) -> bool {
        self.pending.poll(cx, &mut self.output, &self.context.counters)
    }

    /// A read barrier was passed, or not, after all of `input` had arrived.
    pub(crate) fn barrier_passed(
        &mut self,
        result: Result<UnixMillis, Unavailable>,
        input: &InputBuffer,
    ) {
        self.barrier = Some(Barrier { covers: input.len(), result });
    }

    /// There will be no room for the write at the front of the input.
    pub(crate) fn no_room(&mut self, error: Unavailable) {
        self.no_room = Some(error);
    }

    /// The certificates have been read again, or not, and why.
    pub(crate) fn certs_read(&mut self, result: Result<bool, String>) {
        self.certs = Some(result);
    }

    /// Whether the connection closes because of what the client has sent.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// What the client watches, if it does.
    pub(crate) fn watcher(&self) -> Option<Arc<Watcher>> {
        self.watcher.clone()
    }

    /// Executes requests from the front of `input` until something has to be waited for.
    pub(crate) fn step(&mut self, input: &mut InputBuffer) -> Need {
        loop {
            self.skip -= input.consume(self.skip);
            if self.skip != 0 {
                return Need::Input;
            }
            if let Some(need) = self.must_pause() {
                return need;
            }
            if let Some(watcher) = &self.watcher {
                input.consume(input.len());
                self.output.bytes().append(&mut watcher.take());
                return Need::Watch;
            }
            match self.front(input.filled()) {
                Ok(consumed) => {
                    let here = input.consume(consumed);
                    self.skip = consumed - here;
                    if let Some(barrier) = &mut self.barrier {
                        barrier.covers = barrier.covers.saturating_sub(here);
                    }
                    self.turn_count += 1;
                }
                Err(need) => return need,
            }
        }
    }

    fn must_pause(&mut self) -> Option<Need> {
        if self.closing {
            return Some(Need::Close);
        }
        if self.output.is_full() {
            return Some(Need::Flush);
        }
        if self.pending.is_full() {
            return Some(Need::AnAnswer);
        }
        if self.context.shared.options.requests_per_turn <= self.turn_count {
            self.turn_count = 0;
            self.context.counters.conn_yields.add(1);
            return Some(Need::Yield);
        }
        None
    }

    /// Executes the request at the front and returns the bytes it took, some of which may still
    /// have to arrive.
    fn front(&mut self, input: &[u8]) -> Result<usize, Need> {
        if let Partial::Get { from, line_len, reply_to, at } = self.partial {
            self.resume_get(input, from, line_len, reply_to, at);
            return if matches!(self.partial, Partial::None) {
                Ok(line_len)
            } else {
                Err(Need::Flush)
            };
        }
        if let Partial::Dump(dump) = self.partial {
            return self.resume_dump(dump);
        }
        match self.parser.parse(input, &self.limits) {
            Ok(None) => Err(Need::Input),
            Ok(Some(parsed)) => {
                let (request, len) = (parsed.request, parsed.consumed);
                self.execute(input, request, parsed.reply_to, len).map(|()| len)
            }
            Err(refusal) => self.refuse(refusal).map(|()| refusal.consumed),
        }
    }

    fn execute(
        &mut self,
        input: &[u8],
        request: Request<'_>,
        reply_to: ReplyTo,
        len: usize,
    ) -> Result<(), Need> {
        match request {
            Request::Get { keys } => match self.read_at(len)? {
                Ok(at) => {
                    if let Some(last) = self.get(keys, reply_to, at) {
                        // Only a text get has several keys, so this is an offset into its line.
                        let from = last.as_ptr_range().end.addr() - input.as_ptr().addr();
                        self.partial = Partial::Get { from, line_len: len, reply_to, at };
                        return Err(Need::Flush);
                    }
                    Ok(())
                }
                Err(error) => self.unavailable(error, reply_to),
            },
            Request::GetAndTouch { exptime, keys } => self.get_and_touch(exptime, keys, reply_to),
            Request::MetaArithmetic(arithmetic) => {
                self.meta(reply_to, |session, reply| session.meta_arithmetic(&arithmetic, reply))
            }
            Request::MetaDebug { key } => {
                self.meta(reply_to, |session, reply| session.meta_debug(&key, reply, len))
            }
            Request::MetaDelete(delete) => {
                self.meta(reply_to, |session, reply| session.meta_delete(&delete, reply))
            }
            Request::MetaGet(get) => {
                self.meta(reply_to, |session, reply| session.meta_get(&get, reply, len))
            }
            Request::MetaStore(store) => {
                self.meta(reply_to, |session, reply| session.meta_store(&store, reply))
            }
            Request::Store { key, .. } if lower::is_existence_probe(&request) => {
                let at = self.read_at(len)?;
                self.context.counters.cmd_set.add(1);
                match at.map(|at| self.backend.get(key, at)) {
                    Ok(Err(_)) => reply_to.stored(0, self.output.bytes()),
                    Ok(Ok(_)) => reply_to.not_stored(self.output.bytes()),
                    Err(error) => return self.unavailable(error, reply_to),
                }
                Ok(())
            }
            Request::FlushAll { .. } if self.context.shared.options.flush_all_refused => {
                self.in_order()?;
                self.context.counters.cmd_flush.add(1);
                reply_to.error(ProtocolError::FlushNotAllowed, self.output.bytes());
                Ok(())
            }
            Request::Arithmetic { .. }
            | Request::Delete { .. }
            | Request::FlushAll { .. }
            | Request::Store { .. }
            | Request::Touch { .. } => self.write(&request, reply_to),
            Request::CacheMemlimit { megabytes } => self.limit_memory(megabytes, reply_to),
            Request::RefreshCerts => self.refresh_certs(reply_to),
            Request::Watch { topics } => self.watch(topics, reply_to),
            Request::Dump { form, classes } => self.dump(form, classes, reply_to, len),
            Request::Accepted
            | Request::Authenticate { .. }
            | Request::MetaNoop
            | Request::Noop
            | Request::Quit
            | Request::SaslAuth { .. }
            | Request::SaslList
            | Request::SaslStep { .. }
            | Request::Shutdown { .. }
            | Request::Stats { .. }
            | Request::Verbosity { .. }
            | Request::Version
            | _ => self.administer(&request, reply_to),
        }
    }

    fn refuse(&mut self, refusal: Refusal<'_>) -> Result<(), Need> {
        let Refusal { error, reply_to, close, delete, .. } = refusal;
        if let Some(key) = delete {
            let mut buffer = [0; KEY_LEN_MAX];
            let command = engine::Command::Delete { key: key.bytes(&mut buffer), cas: None };
            self.propose(&command, reply_to, || Answer::Refuse { reply_to, error })?;
        } else {
            self.in_order()?;
            if error == ProtocolError::TooLarge {
                self.context.counters.store_too_large.add(1);
            }
            reply_to.error(error, self.output.bytes());
        }
        self.closing = close;
        self.refused = close;
        Ok(())
    }

    fn write(&mut self, request: &Request<'_>, reply_to: ReplyTo) -> Result<(), Need> {
        let now = || UnixMillis(Shared::unix_seconds() * 1000);
        let Some(command) = lower::command(request, now) else {
            return self.administer(request, reply_to);
        };
        let (command, swaps) =
            if self.output.hides_cas() { lower::without_cas(command) } else { (command, false) };
        let kind = if swaps { Kind::Swap } else { Kind::of(&command) };
        if let Request::Delete { key, .. } = request {
            self.count_prefix(key, Asked::Delete);
        }
        if let Request::Delete { key, .. } | Request::Touch { key, .. } = request
            && self.is_missing(key)
        {
            let counters = &self.context.counters;
            if kind == Kind::Delete {
                counters.delete_misses.add(1);
            } else {
                counters.cmd_touch.add(1);
                counters.touch_misses.add(1);
            }
            reply_to.not_found(self.output.bytes());
            return Ok(());
        }
        let watched = self.watched(&command);
        self.propose(&command, reply_to, || Answer::Tell { reply_to, kind }.watched(watched))?;
        if let Request::Store { key, .. } = request {
            self.count_prefix(key, Asked::Set);
        }
        match kind {
            Kind::Cas | Kind::Store | Kind::Swap => self.context.counters.cmd_set.add(1),
            Kind::Flush => self.context.counters.cmd_flush.add(1),
            Kind::Touch => self.context.counters.cmd_touch.add(1),
            Kind::Decrement | Kind::Delete | Kind::Increment | Kind::Other => {}
        }
        Ok(())
    }

    /// Whether a change of `key` may be answered with "not found" without a log entry, because a
    /// linearizable read at this moment says so.
    fn is_missing(&self, key: &[u8]) -> bool {
        self.pending.is_empty()
            && self.backend.read_now().is_some_and(|at| self.backend.get(key, at).is_err())
    }

    fn propose(
        &mut self,
        command: &engine::Command<'_>,
        reply_to: ReplyTo,
        answer: impl FnOnce() -> Answer,
    ) -> Result<(), Need> {
        if let Some(error) = self.no_room.take() {
            return self.unavailable(error, reply_to);
        }
        match self.backend.propose(command) {
            Ok(proposal) => {
                // This node's copy need not have applied a write whose outcome it was told, so
                // what was proven before the write proves nothing about a read after it.
                self.barrier = None;
                self.pending.push(proposal, answer());
                Ok(())
            }
            Err(Full) if self.pending.is_empty() => Err(Need::Room),
            Err(Full) => Err(Need::AnAnswer),
        }
    }

    /// The time at which a read of `len` bytes at the front of the input may be answered.
    fn read_at(&mut self, len: usize) -> Result<Result<UnixMillis, Unavailable>, Need> {
        self.in_order()?;
        if let Some(at) = self.backend.read_now() {
            return Ok(Ok(at));
        }
        match &self.barrier {
            Some(barrier) if len <= barrier.covers => Ok(barrier.result),
            _ => Err(Need::Barrier),
        }
    }

    /// Whatever is answered at once waits for the writes before it.
    fn in_order(&self) -> Result<(), Need> {
        if self.pending.is_empty() { Ok(()) } else { Err(Need::AllAnswers) }
    }

    fn unavailable(&mut self, error: Unavailable, reply_to: ReplyTo) -> Result<(), Need> {
        unavailable(error, reply_to, &mut self.output, &self.context.counters);
        Ok(())
    }
}

/// What clients may speak, and what they must say first.
fn parser(options: &Options) -> Parser {
    match (&options.auth, options.protocol) {
        (Auth::Sasl(_), _) => Parser::with_sasl(),
        (Auth::Ascii(_), _) => Parser::with_text_auth(),
        (Auth::None, Some(protocol)) => Parser::with_protocol(protocol),
        (Auth::None, None) => Parser::new(),
    }
}
