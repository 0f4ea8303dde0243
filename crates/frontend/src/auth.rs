//! Users and passwords, from a file, compared in constant time.
//!
//! # Source
//!
//! memcached's `authfile.c` (`-Y`) and `sasl_defs.c` (`MEMCACHED_SASL_PWDB`). Unlike there a file
//! may have more than eight users, and a line that cannot be read is an error instead of a user
//! that silently does not exist.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use subtle::{Choice, ConstantTimeEq as _};

/// The users of one password file: lines `user:password`.
#[derive(Debug)]
pub struct Credentials {
    path: PathBuf,
    format: Format,
    current: Mutex<Arc<Users>>,
}

/// How a line of the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `-Y`: the password is the rest of the line.
    Ascii,
    /// SASL: the password may be followed by a colon and whatever; the file is looked at anew when
    /// it has changed.
    Sasl,
}

/// Why a password file cannot be used; names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is none.
    #[error("{path}: line {line}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Credentials {
    /// Reads the file of `-Y`.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`].
    pub fn ascii(path: &Path) -> Result<Arc<Self>, CredentialsError> {
        Self::load(path, Format::Ascii)
    }

    /// Reads the file that `MEMCACHED_SASL_PWDB` names.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`].
    pub fn sasl(path: &Path) -> Result<Arc<Self>, CredentialsError> {
        Self::load(path, Format::Sasl)
    }

    fn load(path: &Path, format: Format) -> Result<Arc<Self>, CredentialsError> {
        let users = Users::read(path)?;
        Ok(Arc::new(Self { path: path.to_owned(), format, current: Mutex::new(Arc::new(users)) }))
    }

    /// Where they are read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again; blocks. A connection that is in stays in.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]; what was read before stays in force.
    pub fn reload(&self) -> Result<(), CredentialsError> {
        let users = Users::read(&self.path)?;
        *self.current.lock() = Arc::new(users);
        Ok(())
    }

    /// Whether there is such a user with that password. How long this takes tells neither how much
    /// of either is right nor which user it was.
    pub(crate) fn check(&self, user: &[u8], password: &[u8]) -> bool {
        if self.format == Format::Sasl {
            // As memcached, which reads the file at each attempt.
            let stamp = Stamp::of(&self.path);
            let changed = self.current.lock().stamp != stamp;
            if changed && let Err(error) = self.reload() {
                tracing::warn!(%error, "the users known before stay in force");
            }
        }
        let users = Arc::clone(&self.current.lock());
        users.has(user, password, self.format)
    }
}

/// What a password file held.
struct Users {
    text: Vec<u8>,
    stamp: Option<Stamp>,
}

/// Passwords are not for logs.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

/// By what a changed file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let changed = (meta.mtime(), meta.mtime_nsec());
        Some(Self { inode: meta.ino(), len: meta.len(), changed })
    }
}

impl Users {
    fn read(path: &Path) -> Result<Self, CredentialsError> {
        let unreadable = |source| CredentialsError::Unreadable { path: path.to_owned(), source };
        // Looked at first: a change after that is noticed as one.
        let stamp = Stamp::of(path);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = Vec::new();
        file.take(FILE_LEN_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        Self::new(text, stamp, path)
    }

    /// The users in `text`, which stood in the file at `path`.
    fn new(text: Vec<u8>, stamp: Option<Stamp>, path: &Path) -> Result<Self, CredentialsError> {
        let malformed =
            |line, why| CredentialsError::Malformed { path: path.to_owned(), line, why };
        if FILE_LEN_MAX < text.len() as u64 {
            return Err(malformed(1, "the file is longer than 64 KiB"));
        }
        let users = Self { text, stamp };
        let mut count = 0;
        for (index, line) in users.all_lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            match split(line) {
                Some(([], _)) => return Err(malformed(index + 1, "the user has no name")),
                Some(_) if LINE_LEN_MAX < line.len() => {
                    return Err(malformed(index + 1, "more than 255 bytes"));
                }
                Some(_) if line.contains(&0) => {
                    return Err(malformed(index + 1, "a NUL is no part of a password"));
                }
                Some(_) => count += 1,
                None => return Err(malformed(index + 1, "`user:password` is expected")),
            }
        }
        if count == 0 {
            return Err(malformed(1, "there is no user, and so nobody could come in"));
        }
        Ok(users)
    }

    /// Without an early end.
    fn has(&self, user: &[u8], password: &[u8], format: Format) -> bool {
        let mut found = Choice::from(0);
        for line in self.lines() {
            let Some((name, rest)) = split(line) else { continue };
            let secret = rest.get(..password.len()).unwrap_or_default();
            let ends = match (rest.get(password.len()), format) {
                (None, _) | (Some(b':'), Format::Sasl) => Choice::from(1),
                (Some(_), _) => Choice::from(0),
            };
            found |= name.ct_eq(user) & secret.ct_eq(password) & ends;
        }
        found.into()
    }

    fn all_lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.text.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.all_lines().filter(|line| !line.is_empty())
    }
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, rest) = line.split_at(colon);
    Some((name, rest.get(1..)?))
}

/// Whether a file with `text` lets `user` in by `-Y` and by SASL; `None` if it cannot be used.
#[cfg(fuzzing)]
pub fn lets_in(text: &[u8], user: &[u8], password: &[u8]) -> Option<(bool, bool)> {
    let users = Users::new(text.to_vec(), None, Path::new("file")).ok()?;
    let has = |format| users.has(user, password, format);
    Some((has(Format::Ascii), has(Format::Sasl)))
}

const FILE_LEN_MAX: u64 = 64 * 1024;
const LINE_LEN_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    #[test]
    fn users_come_in_with_their_own_password_alone() {
        let file = file(b"ann:secret\r\n\nbob:a:b\ncarl:");
        let ascii = Credentials::ascii(file.path()).unwrap();
        let sasl = Credentials::sasl(file.path()).unwrap();
        let cases: &[(&[u8], &[u8], bool, bool)] = &[
            (b"ann", b"secret", true, true),
            (b"ann", b"secre", false, false),
            (b"ann", b"secrets", false, false),
            (b"ann", b"", false, false),
            (b"an", b"secret", false, false),
            (b"anna", b"secret", false, false),
            (b"", b"", false, false),
            (b"bob", b"a:b", true, true),
            (b"bob", b"a", false, true),
            (b"bob", b"secret", false, false),
            (b"carl", b"", true, true),
            (b"carl", b"x", false, false),
        ];
        for (user, password, in_ascii, in_sasl) in cases {
            let name = String::from_utf8_lossy(user);
            assert_eq!(ascii.check(user, password), *in_ascii, "-Y, {name}");
            assert_eq!(sasl.check(user, password), *in_sasl, "SASL, {name}");
        }
    }

    #[test]
    fn a_bad_file_is_refused_by_name_and_line() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "there is no user"),
            (b"\n\n", "there is no user"),
            (b"ann:a\nbob\n", "line 2: `user:password`"),
            (b":a\n", "line 1: the user has no name"),
            (b"ann:a\0b\n", "line 1: a NUL"),
            (&[&b"a:"[..], &[b'x'; 254]].concat(), "line 1: more than 255"),
            (&[b'x'; 70_000], "longer than 64 KiB"),
        ];
        for (text, want) in cases {
            let file = file(text);
            let error = Credentials::ascii(file.path()).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
            assert!(error.contains(&*file.path().to_string_lossy()), "{error}");
        }
        let error = Credentials::sasl(Path::new("no/such")).unwrap_err().to_string();
        assert_eq!(error, "cannot read no/such");
    }

    #[test]
    fn changes_come_into_force_and_bad_ones_do_not() {
        let path = file(b"ann:old\n").into_temp_path();
        let ascii = Credentials::ascii(&path).unwrap();
        let sasl = Credentials::sasl(&path).unwrap();
        std::fs::write(&path, b"ann:newer\n").unwrap();
        assert!(sasl.check(b"ann", b"newer") && !sasl.check(b"ann", b"old"));
        assert!(ascii.check(b"ann", b"old"), "only when told");
        ascii.reload().unwrap();
        assert!(ascii.check(b"ann", b"newer"));
        std::fs::write(&path, b"nonsense").unwrap();
        ascii.reload().unwrap_err();
        assert!(ascii.check(b"ann", b"newer") && sasl.check(b"ann", b"newer"));
        std::fs::remove_file(&path).unwrap();
        assert!(sasl.check(b"ann", b"newer"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let file = file(b"ann:secret\n");
        let shown = format!("{:?}", Credentials::ascii(file.path()).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
