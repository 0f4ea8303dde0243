//! Binary opcodes.
//!
//! Source: memcached 1.6.18, `protocol_binary.h`.

pub(crate) const GET: u8 = 0x00;
pub(crate) const SET: u8 = 0x01;
pub(crate) const ADD: u8 = 0x02;
pub(crate) const REPLACE: u8 = 0x03;
pub(crate) const DELETE: u8 = 0x04;
pub(crate) const INCREMENT: u8 = 0x05;
pub(crate) const DECREMENT: u8 = 0x06;
pub(crate) const QUIT: u8 = 0x07;
pub(crate) const FLUSH: u8 = 0x08;
pub(crate) const GETQ: u8 = 0x09;
pub(crate) const NOOP: u8 = 0x0a;
pub(crate) const VERSION: u8 = 0x0b;
pub(crate) const GETK: u8 = 0x0c;
pub(crate) const GETKQ: u8 = 0x0d;
pub(crate) const APPEND: u8 = 0x0e;
pub(crate) const PREPEND: u8 = 0x0f;
pub(crate) const STAT: u8 = 0x10;
pub(crate) const SETQ: u8 = 0x11;
pub(crate) const ADDQ: u8 = 0x12;
pub(crate) const REPLACEQ: u8 = 0x13;
pub(crate) const DELETEQ: u8 = 0x14;
pub(crate) const INCREMENTQ: u8 = 0x15;
pub(crate) const DECREMENTQ: u8 = 0x16;
pub(crate) const QUITQ: u8 = 0x17;
pub(crate) const FLUSHQ: u8 = 0x18;
pub(crate) const APPENDQ: u8 = 0x19;
pub(crate) const PREPENDQ: u8 = 0x1a;
pub(crate) const TOUCH: u8 = 0x1c;
pub(crate) const GAT: u8 = 0x1d;
pub(crate) const GATQ: u8 = 0x1e;
pub(crate) const SASL_LIST: u8 = 0x20;
pub(crate) const SASL_AUTH: u8 = 0x21;
pub(crate) const SASL_STEP: u8 = 0x22;
pub(crate) const GATK: u8 = 0x23;
pub(crate) const GATKQ: u8 = 0x24;

/// Whether the success (of a get: the miss) of this opcode goes unanswered.
pub(crate) fn is_quiet(opcode: u8) -> bool {
    matches!(
        opcode,
        GETQ | GETKQ
            | SETQ
            | ADDQ
            | REPLACEQ
            | DELETEQ
            | INCREMENTQ
            | DECREMENTQ
            | QUITQ
            | FLUSHQ
            | APPENDQ
            | PREPENDQ
            | GATQ
            | GATKQ
    )
}
