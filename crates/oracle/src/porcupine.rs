//! The judge of record: porcupine, a checker in Go that others wrote, with our model in Go.
//!
//! Needs a Go toolchain and, the first time, its module proxy. The program is in the directory
//! `porcupine` of this crate.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::history::Operation;
use crate::jsonl::{HistoryError, write_jsonl};

/// Why porcupine gave no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PorcupineError {
    /// `go build` failed.
    #[error("go build of the porcupine judge failed: {stderr}")]
    Build {
        /// What it said.
        stderr: String,
    },
    /// There is no `go` command.
    #[error("the porcupine judge needs Go 1.21 or newer: no `go` in PATH")]
    GoMissing,
    /// A history could not be written.
    #[error("porcupine judge, writing {}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HistoryError,
    },
    /// A file or process failed.
    #[error("porcupine judge, {}", path.display())]
    Io {
        /// The file or program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The judge ended without a verdict for each history.
    #[error("the porcupine judge said {stdout:?} and {stderr:?}")]
    NoVerdict {
        /// Its output.
        stdout: String,
        /// What it complained about.
        stderr: String,
    },
}

/// What porcupine says about a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// There is an order.
    Ok,
    /// Its time ran out.
    Undecided,
    /// There is none.
    Violation,
}

/// The judge, built.
#[derive(Debug)]
pub struct Porcupine {
    program: PathBuf,
}

impl Porcupine {
    /// Builds the judge into `dir`, which must exist, with the `go` in PATH.
    ///
    /// # Errors
    ///
    /// If there is no Go, or what `go build` complains about.
    pub fn build(dir: &Path) -> Result<Self, PorcupineError> {
        let program = dir.join("porcupine-judge");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcupine");
        let mut go = Command::new("go");
        go.args(["build", "-p", "1", "-o"]).arg(&program).arg(".").current_dir(&source);
        let output = go.output().map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                PorcupineError::GoMissing
            } else {
                PorcupineError::Io { path: "go".into(), source }
            }
        })?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(PorcupineError::Build { stderr });
        }
        Ok(Self { program })
    }

    /// Judges files of JSON lines, in their order.
    ///
    /// `clock_slack_us` is that of [`Limits`](crate::Limits); `timeout_ms` is per history.
    ///
    /// # Errors
    ///
    /// If it cannot be run or does not give a verdict for each file.
    pub fn judge_files(
        &self,
        files: &[PathBuf],
        clock_slack_us: u64,
        timeout_ms: u64,
    ) -> Result<Vec<Judgement>, PorcupineError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let mut judge = Command::new(&self.program);
        judge.arg(format!("-slack-us={clock_slack_us}")).arg(format!("-timeout={timeout_ms}ms"));
        let output = judge.args(files).output();
        let io_error = |source| PorcupineError::Io { path: self.program.clone(), source };
        judgements(files, &output.map_err(io_error)?)
    }

    /// Judges histories, which it writes into `dir` as `history-<n>.jsonl`.
    ///
    /// # Errors
    ///
    /// As [`Self::judge_files`], or if a file cannot be written.
    pub fn judge(
        &self,
        histories: &[Vec<Operation>],
        dir: &Path,
        clock_slack_us: u64,
        timeout_ms: u64,
    ) -> Result<Vec<Judgement>, PorcupineError> {
        let mut files = Vec::new();
        for (number, history) in histories.iter().enumerate() {
            let path = dir.join(format!("history-{number}.jsonl"));
            let io_error = |source| PorcupineError::Io { path: path.clone(), source };
            let file = std::fs::File::create(&path).map_err(io_error)?;
            write_jsonl(BufWriter::new(file), history)
                .map_err(|source| PorcupineError::History { path: path.clone(), source })?;
            files.push(path);
        }
        self.judge_files(&files, clock_slack_us, timeout_ms)
    }
}

/// Lines of `FILE verdict`, one for each file in their order.
fn judgements(files: &[PathBuf], output: &Output) -> Result<Vec<Judgement>, PorcupineError> {
    let text = String::from_utf8_lossy(&output.stdout);
    let judgement = |(line, file): (&str, &PathBuf)| {
        let (name, verdict) = line.rsplit_once(' ')?;
        match verdict {
            _ if Path::new(name) != file => None,
            "ok" => Some(Judgement::Ok),
            "undecided" => Some(Judgement::Undecided),
            "violation" => Some(Judgement::Violation),
            _ => None,
        }
    };
    let judgements: Vec<_> = text.lines().zip(files).map_while(judgement).collect();
    if judgements.len() == files.len() {
        return Ok(judgements);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(PorcupineError::NoVerdict { stdout: text.into_owned(), stderr })
}
