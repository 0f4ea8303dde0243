//! `lru_crawler metadump` and `mgdump`: all items, one part of the state at a time.

use protocol::{Compat, DumpClasses, DumpForm, ProtocolError, ReplyTo};

use super::{Need, Partial, Session};
use crate::backend::Backend;
use crate::lower;
use crate::server::Shared;

/// How far a dump has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dump {
    form: DumpForm,
    /// The next part of the state; behind the last one, where there is nothing to be shown.
    part: usize,
    reply_to: ReplyTo,
    /// Of the command, which stays in the input until it is answered.
    line_len: usize,
}

impl<B: Backend> Session<B> {
    /// Begins a dump, which [`Session::resume_dump`] carries out.
    pub(super) fn dump(
        &mut self,
        form: DumpForm,
        classes: DumpClasses,
        reply_to: ReplyTo,
        line_len: usize,
    ) -> Result<(), Need> {
        self.in_order()?;
        let options = &self.context.shared.options;
        if options.dump_refused {
            reply_to.error(ProtocolError::MetaDumpNotAllowed, self.output.bytes());
            return Ok(());
        }
        if options.compat == Compat::V1_6_45 && form == DumpForm::Metadump {
            reply_to.done(self.output.bytes());
        }
        let part = match classes {
            DumpClasses::All => 0,
            DumpClasses::Empty => usize::MAX,
        };
        self.partial = Partial::Dump(Dump { form, part, reply_to, line_len });
        Err(Need::Flush)
    }

    /// Shows one part; `Ok` with the bytes of the command once there are no more.
    pub(super) fn resume_dump(&mut self, dump: Dump) -> Result<usize, Need> {
        let Dump { form, part, reply_to, line_len } = dump;
        let Some(items) = self.backend.part(part) else {
            self.partial = Partial::None;
            reply_to.dump_end(form, self.output.bytes());
            return Ok(line_len);
        };
        let now_s = Shared::unix_seconds();
        for (item, usage) in items {
            let shown = protocol::DumpedItem {
                key: item.key(),
                key_is_base64: item.marks().has(engine::Marks::BASE64),
                deadline_s: item.deadline().map(|deadline| deadline.0 / 1000),
                used_s: now_s.saturating_sub(usage.idle_s),
                cas: item.cas_unique().0,
                fetched: usage.fetched,
                flags: item.flags(),
                total_len: lower::total_len(&item),
            };
            let with_flags = self.context.shared.options.compat == Compat::V1_6_45;
            reply_to.dump_item(form, &shown, with_flags, self.output.bytes());
        }
        self.partial = Partial::Dump(Dump { part: part + 1, ..dump });
        // Others have their turn after each part, and the client takes what there is.
        Err(if self.output.is_full() { Need::Flush } else { Need::Yield })
    }
}
