//! What the machine must allow, asked before any executor starts. Each failure is one line with its remedy.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Cores, Target};

use super::listener::BACKLOG;

/// Descriptors a process needs beside those of its sessions: listeners, epoll, rings, logs.
const DESCRIPTORS_BESIDE: u64 = 64;

/// Connections to the admin interface that it serves at once, and probes: one for each backend, up to so many.
const DESCRIPTORS_OF_ADMIN: u64 = 64;
const PROBES_MAX: usize = 64;

/// Descriptors of one shard: listener, epoll, mailbox, a reserve, glommio's rings and eventfds, and the clients beyond
/// the limit that are being told so.
const DESCRIPTORS_PER_SHARD: u64 = 32;

/// Connections allowed where neither the configuration nor the descriptor limit sets a bound.
const CONNECTIONS_MAX: u64 = 500_000;

/// Locked memory that glommio insists on, and what one executor's rings can take of it.
const MEMLOCK_LEAST: u64 = 512 * 1024;
const MEMLOCK_PER_SHARD: u64 = 240 * 1024;

/// What the machine refuses.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No io_uring in this kernel.
    #[error("the kernel lacks io_uring, which the executors need: run Linux 5.8 or later")]
    IoUringMissing,
    /// io_uring switched off by the administrator.
    #[error(
        "io_uring is switched off (kernel.io_uring_disabled = {value}): sysctl -w kernel.io_uring_disabled=0"
    )]
    IoUringDisabled {
        /// The sysctl's value.
        value: String,
    },
    /// io_uring forbidden by a filter.
    #[error(
        "io_uring is blocked, by seccomp most likely: allow io_uring_setup, io_uring_enter and io_uring_register \
         (containers: --security-opt seccomp=PROFILE)"
    )]
    IoUringBlocked,
    /// io_uring fails otherwise.
    #[error("io_uring does not work here: {0}")]
    IoUring(io::Error),
    /// RLIMIT_MEMLOCK.
    #[error(
        "locked memory is limited to {hard} bytes, {shards} shards need {needed}: ulimit -l {kib} \
         (systemd: LimitMEMLOCK=infinity, containers: --ulimit memlock=-1), or fewer --cores"
    )]
    Memlock {
        /// The hard limit.
        hard: u64,
        /// Shards asked for.
        shards: usize,
        /// Bytes they need.
        needed: u64,
        /// The same for `ulimit -l`.
        kib: u64,
    },
    /// RLIMIT_NOFILE.
    #[error(
        "open files are limited to {hard}, {connections} connections need {needed}: ulimit -n {needed} \
         (systemd: LimitNOFILE={needed}), or a lower --max-connections"
    )]
    Nofile {
        /// The hard limit.
        hard: u64,
        /// Connections asked for.
        connections: u64,
        /// Descriptors they need.
        needed: u64,
    },
    /// Cores outside the affinity mask.
    #[error(
        "cores {asked:?} are not all allowed to this process, which may use {allowed:?}: change --cores or taskset"
    )]
    Cores {
        /// Those that are not allowed.
        asked: Vec<usize>,
        /// Those that are.
        allowed: Vec<usize>,
    },
    /// The affinity mask or the core topology cannot be read.
    #[error("cannot read which cores there are: /sys/devices/system/cpu must be readable")]
    Topology,
}

/// What the machine grants.
#[derive(Debug)]
pub struct Host {
    /// A shard each.
    pub cores: Vec<usize>,
    /// Client connections of the whole process.
    pub connections_max: u32,
    /// What is not fatal but should be put right.
    pub warnings: Vec<String>,
}

impl Host {
    /// Asks for what `config` needs, raising soft limits to hard ones where that helps.
    ///
    /// # Errors
    /// [`HostError`], the first that was found.
    pub fn check(config: &Config) -> Result<Self, HostError> {
        let cores = allowed_cores(&config.cores)?;
        check_memlock(cores.len())?;
        check_io_uring()?;
        let connections_max = check_nofile(config, cores.len())?;
        Ok(Self { cores, connections_max, warnings: warnings() })
    }
}

fn allowed_cores(wanted: &Cores) -> Result<Vec<usize>, HostError> {
    let allowed: Vec<_> =
        core_affinity::get_core_ids().ok_or(HostError::Topology)?.into_iter().map(|core| core.id).collect();
    if fs::read_dir("/sys/devices/system/cpu").is_err() {
        return Err(HostError::Topology);
    }
    match wanted {
        Cores::All => Ok(allowed),
        Cores::List(list) => {
            let asked: Vec<_> = list.iter().copied().filter(|core| !allowed.contains(core)).collect();
            if asked.is_empty() {
                Ok(list.iter().copied().collect())
            } else {
                Err(HostError::Cores { asked, allowed })
            }
        }
    }
}

fn check_io_uring() -> Result<(), HostError> {
    let Err(error) = io_uring::IoUring::new(2) else { return Ok(()) };
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOSYS) => Err(HostError::IoUringMissing),
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
            let value = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            match value.trim() {
                "" | "0" => Err(HostError::IoUringBlocked),
                value => Err(HostError::IoUringDisabled { value: value.to_owned() }),
            }
        }
        _ => Err(HostError::IoUring(error)),
    }
}

fn check_memlock(shards: usize) -> Result<(), HostError> {
    let needed =
        u64::try_from(shards).unwrap_or(u64::MAX).saturating_mul(MEMLOCK_PER_SHARD).max(MEMLOCK_LEAST);
    match raise(Resource::Memlock, needed) {
        Granted::Enough => Ok(()),
        Granted::AtMost(hard) => Err(HostError::Memlock { hard, shards, needed, kib: needed.div_ceil(1024) }),
    }
}

fn check_nofile(config: &Config, shards: usize) -> Result<u32, HostError> {
    let wanted = config.limits.connections_max;
    let backends: usize = config.pools.iter().map(|pool| pool.backends.len()).sum();
    let probes = u64::try_from(backends.min(PROBES_MAX)).unwrap_or(u64::MAX);
    let admin = config.admin.as_ref().map_or(0, |_| DESCRIPTORS_OF_ADMIN);
    let per_shards = DESCRIPTORS_PER_SHARD * u64::try_from(shards).unwrap_or(u64::MAX);
    let beside = DESCRIPTORS_BESIDE + per_shards + admin + probes;
    let per_connection = descriptors_per_connection(config);
    let possible = hard_limit(Resource::Nofile).saturating_sub(beside) / per_connection;
    let connections = wanted.map_or(possible.min(CONNECTIONS_MAX), u64::from);
    let needed = connections * per_connection + beside;
    match raise(Resource::Nofile, needed) {
        Granted::Enough if connections > 0 => Ok(u32::try_from(connections).unwrap_or(u32::MAX)),
        Granted::Enough => Err(HostError::Nofile {
            hard: hard_limit(Resource::Nofile),
            connections: 1,
            needed: needed + per_connection,
        }),
        Granted::AtMost(hard) => Err(HostError::Nofile { hard, connections, needed }),
    }
}

/// A client's own, and where any route leads to a pool its backend's; to a dispatch, those of all its backends.
fn descriptors_per_connection(config: &Config) -> u64 {
    let backends = config.routes.iter().map(|route| match &route.target {
        Target::Pool(_) => 1,
        Target::Dispatch(id) => {
            let dispatch = config.dispatches.get(id.index());
            dispatch
                .and_then(|dispatch| config.pools.get(dispatch.backends.index()))
                .map_or(0, |pool| pool.backends.len())
        }
        Target::Feed(_) | Target::Echo | Target::Ticker { .. } | Target::Fixed(_) => 0,
    });
    1 + u64::try_from(backends.max().unwrap_or(0)).unwrap_or(u64::MAX - 1)
}

enum Granted {
    Enough,
    AtMost(u64),
}

fn hard_limit(resource: Resource) -> u64 {
    getrlimit(resource).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard one if it is under `needed`.
fn raise(resource: Resource, needed: u64) -> Granted {
    let Rlimit { current, maximum } = getrlimit(resource);
    if current.is_none_or(|soft| soft >= needed) {
        return Granted::Enough;
    }
    let hard = maximum.unwrap_or(u64::MAX);
    if hard >= needed && setrlimit(resource, Rlimit { current: maximum, maximum }).is_ok() {
        Granted::Enough
    } else {
        Granted::AtMost(hard)
    }
}

fn warnings() -> Vec<String> {
    let somaxconn =
        fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
    let short = somaxconn.filter(|somaxconn: &i32| *somaxconn < BACKLOG);
    short
        .map(|somaxconn| {
            format!(
                "net.core.somaxconn is {somaxconn}, so a burst of connections may be dropped: \
                 sysctl -w net.core.somaxconn={BACKLOG}"
            )
        })
        .into_iter()
        .collect()
}
