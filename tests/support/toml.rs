//! Configurations for the program, as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::loopback;

/// A configuration file of its own; removed when dropped.
#[derive(Debug)]
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("selat-{}-{number}.toml", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    /// Says this instead.
    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a file in the temporary folder");
    }

    pub(crate) fn path(&self) -> &str {
        AsRef::<Path>::as_ref(self).to_str().expect("UTF-8")
    }
}

impl AsRef<Path> for File {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // At the worst it stays behind.
        let _ = fs::remove_file(&self.0);
    }
}

/// A configuration of one pool, `app`, in which `pool` stands, on every core; with an admin interface.
pub(crate) fn one_pool(pool: &str) -> String {
    format!(
        "[listen.public]\naddr = \"{0}:0\"\n[admin]\naddr = \"{0}:0\"\n[route.all]\npool = \"app\"\n\
         [pool.app]\n{pool}\n",
        loopback()
    )
}

/// The same configuration, but that this stands in the pool.
pub(crate) fn with_pool(toml: &str, pool: &str) -> String {
    let (rest, _) = toml.split_once("[pool.app]\n").expect("it is of one pool");
    format!("{rest}[pool.app]\n{pool}\n")
}

/// A list of these texts.
pub(crate) fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", texts.join(", "))
}
