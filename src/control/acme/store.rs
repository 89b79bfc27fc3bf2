//! What is kept on disk: the account, and each certificate with its key. Written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tracing::warn;

/// Bytes of an account's file; beyond, it is none.
const ACCOUNT_BYTES_MAX: u64 = 64 * 1024;

/// What the account's file is called.
const ACCOUNT: &str = "account.json";

/// A state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: {source}; the state of acme needs a directory that the user of selat can write to, such as one that systemd \
     makes by StateDirectory=selat", path.display()
)]
pub struct InvalidState {
    /// The file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// A directory that nobody else can read.
#[derive(Debug, Clone)]
pub(super) struct Store(PathBuf);

impl Store {
    /// Makes the directory where it is missing, and makes sure that files can be written there.
    ///
    /// # Errors
    /// [`InvalidState`].
    pub(super) fn open(directory: &Path) -> Result<Self, InvalidState> {
        let store = Self(directory.to_owned());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| InvalidState { path: directory.to_owned(), source })?;
        // Permissions alone would not tell: it may be a read-only file system, or full.
        store.write("writable", b"")?;
        let trial = store.0.join("writable");
        fs::remove_file(&trial).map_err(|source| InvalidState { path: trial, source })?;
        if fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
            warn!(directory = %directory.display(), "others may look into the state of acme; chmod 700 keeps them out");
        }
        Ok(store)
    }

    /// The account as it was written; `None` if there is none.
    ///
    /// # Errors
    /// [`InvalidState`].
    pub(super) fn account(&self) -> Result<Option<String>, InvalidState> {
        let path = self.0.join(ACCOUNT);
        let read =
            File::open(&path).and_then(|file| io::read_to_string(io::Read::take(file, ACCOUNT_BYTES_MAX)));
        match read {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(InvalidState { path, source }),
        }
    }

    /// Keeps an account.
    ///
    /// # Errors
    /// [`InvalidState`].
    pub(super) fn write_account(&self, text: &str) -> Result<(), InvalidState> {
        self.write(ACCOUNT, text.as_bytes())
    }

    /// Puts the account aside: its authority does not know it.
    ///
    /// # Errors
    /// [`InvalidState`].
    pub(super) fn retire_account(&self) -> Result<(), InvalidState> {
        let path = self.0.join(ACCOUNT);
        fs::rename(&path, self.0.join("account.json.old")).map_err(|source| InvalidState { path, source })
    }

    /// Puts a file in place of another of the same name, if there is one: whoever reads it reads all of the one or all
    /// of the other, even behind a power failure.
    ///
    /// # Errors
    /// [`InvalidState`]: the file is as it was.
    pub(super) fn write(&self, name: &str, contents: &[u8]) -> Result<(), InvalidState> {
        let new = self.0.join(format!(".{name}.new"));
        let write = || {
            // One that was left behind may have other permissions.
            let _ = fs::remove_file(&new);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(contents)?;
            file.sync_all()?;
            fs::rename(&new, self.0.join(name))?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|source| InvalidState { path: new.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_whole_and_for_nobody_elses_eyes() {
        let root = std::env::temp_dir().join(format!("selat-store-{}", std::process::id()));
        let directory = root.join("a/b");
        let store = Store::open(&directory).unwrap();
        assert_eq!(store.account().unwrap(), None);
        for text in ["one", "another"] {
            store.write_account(text).unwrap();
            assert_eq!(store.account().unwrap().as_deref(), Some(text));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(ACCOUNT))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing half-written is left");
        store.retire_account().unwrap();
        assert_eq!(store.account().unwrap(), None);
        let error = Store::open(&directory.join("account.json.old")).unwrap_err().to_string();
        assert!(error.contains("account.json.old") && error.contains("StateDirectory"), "{error}");
        fs::remove_dir_all(&root).unwrap();
    }
}
