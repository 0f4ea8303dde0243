//! Clients that have to say who they are, and the file that knows them.
//!
//! Input: which of the three; then a stream in pieces, or a user, a password and a file.
#![no_main]

use harness::input::Input;
use harness::stream::check_with;
use protocol::Parser;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.below(3) {
        0 => check_with(input.0, &Parser::with_sasl),
        1 => check_with(input.0, &Parser::with_text_auth),
        _ => file(&mut input),
    }
});

/// Who is let in stands in the file, word for word.
fn file(input: &mut Input<'_>) {
    let (user_len, password_len) = (input.below(8), input.below(8));
    let (user, password) = (input.bytes(user_len), input.bytes(password_len));
    let text = input.0;
    let Some((by_text, by_sasl)) = frontend::fuzzing::lets_in(text, user, password) else { return };
    let line = [user, b":", password].concat();
    let lines =
        || text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // A name ends at the first colon.
    let named = !user.contains(&b':');
    let whole = named && lines().any(|known| known == line && !known.is_empty());
    let begun = lines().any(|known| {
        known.strip_prefix(line.as_slice()).is_some_and(|rest| matches!(rest, [] | [b':', ..]))
    });
    assert_eq!(by_text, whole);
    assert_eq!(by_sasl, named && begun);
}
