//! Histories as text: one operation in JSON per line.

use std::io::{self, BufRead, Write};

use crate::history::Operation;

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file or stream failed.
    #[error("history, after line {line}")]
    Io {
        /// The last line that was whole, from 1; 0 before the first.
        line: usize,
        /// What failed.
        source: io::Error,
    },
    /// A line is no operation.
    #[error("history, line {line}: {source}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, with the column.
        source: serde_json::Error,
    },
    /// An operation returned before it was called.
    #[error("history, line {line}: returns at {return_us} us, before the call at {call_us} us")]
    ReturnsBeforeCall {
        /// The line, from 1.
        line: usize,
        /// The call in microseconds.
        call_us: u64,
        /// The return in microseconds.
        return_us: u64,
    },
}

/// Writes one line per operation.
///
/// # Errors
///
/// What `out` returns, with the line written last.
pub fn write_jsonl(mut out: impl Write, operations: &[Operation]) -> Result<(), HistoryError> {
    for (line, operation) in operations.iter().enumerate() {
        let mut text = serde_json::to_vec(operation)
            .map_err(|source| HistoryError::Malformed { line: line + 1, source })?;
        text.push(b'\n');
        out.write_all(&text).map_err(|source| HistoryError::Io { line, source })?;
    }
    out.flush().map_err(|source| HistoryError::Io { line: operations.len(), source })
}

/// Reads what `write_jsonl` wrote. Empty lines are skipped.
///
/// # Errors
///
/// What the input returns, or what is wrong with a line, with its number.
pub fn read_jsonl(input: impl BufRead) -> Result<Vec<Operation>, HistoryError> {
    let mut operations = Vec::new();
    for (index, text) in input.lines().enumerate() {
        let line = index + 1;
        let text = text.map_err(|source| HistoryError::Io { line: index, source })?;
        if text.trim().is_empty() {
            continue;
        }
        let operation: Operation = serde_json::from_str(&text)
            .map_err(|source| HistoryError::Malformed { line, source })?;
        if let Some(return_us) = operation.return_us.filter(|at| *at < operation.call_us) {
            let call_us = operation.call_us;
            return Err(HistoryError::ReturnsBeforeCall { line, call_us, return_us });
        }
        operations.push(operation);
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Input, Output, Ttl};

    #[test]
    fn what_is_written_is_read() {
        let operation = |input, output, return_us| Operation {
            client: 3,
            key: "k".into(),
            call_us: 5,
            return_us,
            input,
            output,
        };
        let value = || "a\"\\ ".to_owned();
        let operations = [
            operation(Input::Get, Output::Value { value: value(), cas: Some(u64::MAX) }, Some(5)),
            operation(Input::Set { value: value(), ttl: Ttl::Millis(9) }, Output::Stored, Some(6)),
            operation(Input::Gat { ttl: Ttl::Past }, Output::Miss, Some(7)),
            operation(Input::Incr { by: 2 }, Output::Number(u64::MAX), Some(8)),
            operation(Input::Delete, Output::Unknown, None),
        ];
        let mut text = Vec::new();
        write_jsonl(&mut text, &operations).unwrap();
        assert_eq!(read_jsonl(&text[..]).unwrap(), operations);
        assert!(text.starts_with(
            br#"{"client":3,"key":"k","call_us":5,"return_us":5,"input":"get","output":{"value""#
        ));
    }

    #[test]
    fn errors_name_the_line() {
        let good =
            r#"{"client":3,"key":"k","call_us":5,"return_us":9,"input":"get","output":"miss"}"#;
        let cases = [
            ("cut", good.replace("\"miss\"}", ""), "history, line 3: EOF while parsing"),
            ("verb", good.replace("\"get\"", "\"got\""), "history, line 3: unknown variant `got`"),
            ("field", good.replace("\"key\"", "\"kay\""), "history, line 3: missing field `key`"),
            (
                "time",
                good.replace(":5", ":10"),
                "history, line 3: returns at 9 us, before the call",
            ),
        ];
        for (name, bad, want) in cases {
            let error = read_jsonl(format!("{good}\n\n{bad}\n{good}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(want), "case: {name}: {error}");
        }
    }
}
