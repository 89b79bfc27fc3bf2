//! How many file descriptors this process may hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not connections: standard streams, epoll, a listener, files under `/proc`.
const RESERVE: u64 = 32;

/// Makes room for `sockets` of them, raising the soft limit to the hard one where that is needed.
///
/// # Errors
/// When the hard limit itself is too low.
pub(crate) fn make_room(sockets: u64) -> anyhow::Result<()> {
    let wanted = sockets + RESERVE;
    raise();
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => anyhow::bail!(
            "{sockets} connections need {wanted} file descriptors, but this process may open {limit}; \
             ask for fewer connections or raise the hard limit (`ulimit -Hn`, LimitNOFILE= in systemd)"
        ),
        Some(_) | None => Ok(()),
    }
}

/// Raises the soft limit to the hard one; a server does not know how many connections will come.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Refused only if the limits changed since they were read; what is there then has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}
