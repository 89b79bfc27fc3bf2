//! Where a test puts its sockets.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own, whose name is short enough for sockets; removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("selat-{}-{test}", std::process::id()));
        fs::create_dir(&directory).expect("nobody else has it");
        Self(directory)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as an argument.
    pub(crate) fn argument(&self, name: &str) -> String {
        self.file(name).to_str().expect("it is ASCII").to_owned()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it is there").flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // At the worst it stays behind.
        let _ = fs::remove_dir_all(&self.0);
    }
}
