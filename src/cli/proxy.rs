//! The short form: `selat LISTEN BACKEND...`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use selat::config::{BackendUrl, ListenAddress, parse_bytes};

use super::general::GeneralArgs;
use super::written::{line, list, size, text, word};

#[derive(Args)]
pub(super) struct ProxyArgs {
    /// Where clients connect: :8765, 0.0.0.0:8765, [::1]:8765 or unix:/path
    #[arg(required = true, value_name = "LISTEN")]
    listen: Option<ListenAddress>,

    /// Where the servers are: ws://host:port/base/path or wss://host, one or more
    #[arg(required = true, value_name = "BACKEND")]
    backends: Vec<BackendUrl>,

    /// Certificate in PEM, with those between it and the root, to speak TLS with clients; read again when it changes
    #[arg(long, requires = "key", value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM, not encrypted
    #[arg(long, alias = "cert-key", requires = "cert", value_name = "FILE")]
    key: Option<PathBuf>,

    /// How a backend is chosen for a new connection
    #[arg(long, value_enum, default_value = "round-robin", value_name = "POLICY")]
    balance: Balance,

    /// Largest message, as it stands on the wire, such as 1MiB; beyond: Close 1009 [default: no limit]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    message_bytes_max: Option<u64>,

    #[command(flatten)]
    pub(super) general: GeneralArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Balance {
    /// Each backend in turn
    RoundRobin,
    /// The backend with the fewest sessions, over all cores
    LeastConnections,
}

impl ProxyArgs {
    /// The file that says the same, so that there is one way to a configuration.
    pub(super) fn toml(&self) -> String {
        let listen = self.listen.as_ref().expect("clap requires it where there is no subcommand");
        let backends: Vec<_> = self.backends.iter().map(BackendUrl::to_string).collect();
        [
            GeneralArgs::listener(listen, self.cert.as_deref().zip(self.key.as_deref())),
            "[route.default]\npool = \"default\"\n".to_owned(),
            line("limits.message", self.message_bytes_max.map(size)),
            self.general.of_route(),
            format!(
                "[pool.default]\nbackends = {}\nbalance = {}\n",
                list(&backends, text),
                word(self.balance)
            ),
            self.general.of_servers(),
            self.general.process(),
        ]
        .concat()
    }
}
