//! The first words of a text client that has to say who it is (`-Y`).
//!
//! ```text
//!   set <any> <any> <any> <bytes>\r\n
//!   user password\r\n                  <bytes> long, without its CRLF
//! ```
//!
//! Everything else is refused; what a client sends behind it is looked at as if it were new.
//!
//! Source: `try_read_command_asciiauth` in memcached's `proto_text.c`; the limit of 16 KiB is
//! 1.6.45's.

use memchr::memchr;

use super::number::parse_u32;
use super::{REPLY, without_cr};
use crate::parser::Step;
use crate::words::Words;
use crate::{LINE_LEN_MAX, ProtocolError, ReplyTo, Request};

/// Parses one request of a client that has not authenticated.
pub(crate) fn parse(input: &[u8]) -> Step<'_> {
    let Some(line_end) = memchr(b'\n', input) else {
        return if input.len() <= LINE_LEN_MAX {
            Step::More { needed: input.len() + 1, scanned: 0 }
        } else {
            Step::hang_up(input.len())
        };
    };
    let (line, block) = input.split_at(line_end);
    let line_len = line_end + 1;
    let reply_to = ReplyTo::Text(REPLY);
    let mut words = Words::new(without_cr(line));
    let is_set = words.next() == Some(b"set");
    let (Some(value_len), true) = (words.nth(3).and_then(parse_u32), is_set) else {
        return Step::refused(ProtocolError::AuthRequired, reply_to, line_len);
    };
    if TOKEN_LEN_MAX < value_len {
        return Step::fatal(ProtocolError::AuthTooLong, reply_to, line_len);
    }
    let value_len = value_len as usize;
    let consumed = line_len + value_len + 2;
    let block = block.get(1..).unwrap_or_default();
    let Some((value, [cr, lf, ..])) = block.split_at_checked(value_len) else {
        return Step::More { needed: consumed, scanned: 0 };
    };
    if [*cr, *lf] != *b"\r\n" {
        return Step::refused(ProtocolError::BadAuthEnd, reply_to, consumed);
    }
    let mut words = Words::new(value);
    match (words.next(), words.next()) {
        (Some(user), Some(password)) => {
            Step::request(Request::Authenticate { user, password }, reply_to, consumed)
        }
        _ => Step::refused(ProtocolError::BadAuthToken, reply_to, consumed),
    }
}

const TOKEN_LEN_MAX: u32 = 16 * 1024;

#[cfg(test)]
mod tests {
    use crate::{Limits, Parser};

    /// The answers to a stream, and whether it ends the connection.
    fn talk(mut input: &[u8]) -> (Vec<String>, bool) {
        let mut parser = Parser::with_text_auth();
        let mut answers = Vec::new();
        while !input.is_empty() {
            let consumed = match parser.parse(input, &Limits::default()) {
                Ok(None) => break,
                Ok(Some(parsed)) => {
                    answers.push(format!("{:?}", parsed.request));
                    parsed.consumed
                }
                Err(refusal) => {
                    answers.push(refusal.error.to_string());
                    if refusal.close {
                        return (answers, true);
                    }
                    refusal.consumed
                }
            };
            input = &input[consumed.min(input.len())..];
        }
        (answers, false)
    }

    #[test]
    fn nothing_but_user_and_password_gets_through() {
        let long = [&b"get "[..], &[b'k'; 2100]].concat();
        let cases: &[(&[u8], &[&str], bool)] = &[
            (b"set a 0 0 7\r\nfoo bar\r\n", &[AUTH], false),
            (b"set a 0 0 7\nfoo bar\r\n", &[AUTH], false),
            (b"set a 0 0 9 noreply\r\nfoo bar x\r\n", &[AUTH], false),
            (b"get a\r\nset a 0 0 7\r\nfoo bar\r\n", &[REQUIRED, AUTH], false),
            (b"\r\n", &[REQUIRED], false),
            (b"set a 0 0\r\n", &[REQUIRED], false),
            (b"set a 0 0 -1\r\n", &[REQUIRED], false),
            (b"add a 0 0 7\r\nfoo bar\r\n", &[REQUIRED, REQUIRED], false),
            (b"set a 0 0 2\r\nhi\r\n", &["CLIENT_ERROR bad authentication token format"], false),
            (b"set a 0 0 7\r\nfoo barr\n", &["CLIENT_ERROR bad command line termination"], false),
            (b"set a 0 0 2147483648\r\n", &["CLIENT_ERROR auth token too long"], true),
            (b"set a 0 0 16385\r\n", &["CLIENT_ERROR auth token too long"], true),
            (b"set a 0 0 7\r\nfoo", &[], false),
            (&long, &["not a memcached client"], true),
        ];
        for (input, answers, closes) in cases {
            let (have, have_closes) = talk(input);
            let shown = String::from_utf8_lossy(input);
            assert_eq!((have.as_slice(), have_closes), (&own(answers)[..], *closes), "{shown}");
        }
    }

    fn own(answers: &[&str]) -> Vec<String> {
        answers.iter().map(|answer| (*answer).to_owned()).collect()
    }

    const AUTH: &str = "Authenticate { user: [102, 111, 111], password: [98, 97, 114] }";
    const REQUIRED: &str = "CLIENT_ERROR unauthenticated";
}
