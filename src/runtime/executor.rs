//! A pinned glommio executor for each shard.

use std::io;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

/// A shard's thread.
pub struct Executor(ExecutorJoinHandle<()>);

/// Starts a glommio executor pinned to `core` and runs `shard` in it.
///
/// Its rings carry no I/O of ours (`docs/adr/0001-sockets-beside-glommio.md`), so they get no buffers to pin.
///
/// # Errors
/// When the thread cannot be made.
pub fn spawn(name: &str, core: usize, shard: impl FnOnce() + Send + 'static) -> io::Result<Executor> {
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(name)
        .io_memory(0)
        .spawn(|| async move { shard() })
        .map(Executor)
        .map_err(|error| io::Error::other(error.to_string()))
}

impl Executor {
    /// Waits for the shard to end.
    ///
    /// # Errors
    /// When it could not start or did not end well.
    pub fn join(self) -> io::Result<()> {
        self.0.join().map_err(|error| io::Error::other(error.to_string()))
    }
}
