//! The machine that this runs on, as far as figures depend on it.

use std::fs;

use crate::record::Host;

/// What stands for that which the kernel does not tell.
const UNKNOWN: &str = "unknown";

impl Host {
    /// This machine.
    pub(crate) fn here() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let is_core = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| !rest.starts_with(' '));
        Self {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu: value(&cpus, "model name"),
            cores: crate::wire::wide(machine.lines().filter(is_core).count()),
            cores_allowed: value(&status, "Cpus_allowed_list"),
            tcp_congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }

    /// A machine of which nothing is known.
    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        let unknown = || UNKNOWN.to_owned();
        Self {
            name: unknown(),
            kernel: unknown(),
            cpu: unknown(),
            cores: 0,
            cores_allowed: unknown(),
            tcp_congestion_control: unknown(),
        }
    }
}

/// The one line of a file.
fn line(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| UNKNOWN.to_owned(), |text| text.trim_end().to_owned())
}

/// What stands behind the colon in the first line of `text` that begins with `key`.
fn value(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
    value.map_or_else(|| UNKNOWN.to_owned(), |(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_machine() {
        let host = Host::here();
        assert!(host.cores > 0 && host.cores_allowed != UNKNOWN && host.kernel != UNKNOWN, "{host:?}");
    }
}
