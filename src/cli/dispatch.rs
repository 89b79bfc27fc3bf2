//! `selat dispatch LISTEN BACKEND...`: each client's messages over many backends.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use selat::config::{BackendUrl, ListenAddress, parse_bytes, parse_duration};

use super::general::GeneralArgs;
use super::written::{line, list, size, text, time, word};

#[derive(Args)]
pub(super) struct DispatchArgs {
    /// Where clients connect: :8765, 0.0.0.0:8765, [::1]:8765 or unix:/path
    #[arg(value_name = "LISTEN")]
    listen: ListenAddress,

    /// Where the servers are: ws://host:port/base/path or wss://host, one or more
    #[arg(required = true, value_name = "BACKEND")]
    backends: Vec<BackendUrl>,

    /// Who gets a message [default: one]
    #[arg(long, value_enum, value_name = "WHO")]
    send: Option<Send>,

    /// How the one is chosen that gets a message: least-outstanding, round-robin, p2c, ewma or hash:/json/pointer
    /// [default: least-outstanding, or round-robin with --replies any]
    #[arg(long, value_name = "POLICY")]
    balance: Option<String>,

    /// How many replies a message has from each server that got it [default: one]
    #[arg(long, value_enum, value_name = "COUNT")]
    replies: Option<Replies>,

    /// Where a message and its reply say which one it is, as a JSON pointer such as /id [default: the n-th reply of a
    /// server answers its n-th message]
    #[arg(long, value_name = "POINTER")]
    correlate: Option<String>,

    /// In which order a client gets replies [default: as-they-come]
    #[arg(long, value_enum, value_name = "ORDER")]
    order: Option<Order>,

    /// Send a message anew, up to N times, whose server was lost before it replied: for work that may be done twice
    /// [default: 0]
    #[arg(long, requires = "correlate", value_name = "N")]
    retry: Option<u32>,

    /// Time from a message to its reply [default: 5s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    timeout: Option<Duration>,

    /// What becomes of a message without a reply: drop, close, or what the client gets in the place of the reply, with
    /// {id} for what stands at --correlate [default: close]
    #[arg(long, value_name = "WHAT")]
    on_timeout: Option<String>,

    /// What a client gets of all replies to a message; needs --send all [default: first]
    #[arg(long, value_enum, requires = "send", value_name = "WHAT")]
    gather: Option<Gather>,

    /// How many replies suffice for --gather all or array [default: all of them]
    #[arg(long, requires = "gather", value_name = "N")]
    quorum: Option<u16>,

    /// Messages of one client that wait for replies; beyond, it is not read [default: 1000]
    #[arg(long, value_name = "N")]
    outstanding_max: Option<u32>,

    /// Largest message, as it stands on the wire, such as 1MiB; beyond: Close 1009 [default: no limit]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    message_bytes_max: Option<u64>,

    /// Certificate in PEM, with those between it and the root, to speak TLS with clients; read again when it changes
    #[arg(long, requires = "cert_key", value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM, not encrypted
    #[arg(long, requires = "cert", value_name = "FILE")]
    cert_key: Option<PathBuf>,

    #[command(flatten)]
    pub(super) general: GeneralArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Send {
    /// One server, chosen by --balance
    One,
    /// All of them
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum Replies {
    /// One
    One,
    /// Any number: whatever a server says goes to the client, and nothing is waited for
    Any,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// As servers send them
    AsTheyCome,
    /// As the messages came that they answer: one that comes early is kept
    AsAsked,
}

#[derive(Clone, Copy, ValueEnum)]
enum Gather {
    /// The first alone
    First,
    /// Each, as it comes
    All,
    /// One JSON array of them
    Array,
}

impl DispatchArgs {
    /// The file that says the same, so that there is one way to a configuration.
    pub(super) fn toml(&self) -> String {
        let backends: Vec<_> = self.backends.iter().map(BackendUrl::to_string).collect();
        [
            GeneralArgs::listener(&self.listen, self.cert.as_deref().zip(self.cert_key.as_deref())),
            "[route.default]\ndispatch = \"default\"\n".to_owned(),
            line("limits.message", self.message_bytes_max.map(size)),
            self.general.of_route(),
            format!("[dispatch.default]\nbackends = {}\n", list(&backends, text)),
            self.of_messages(),
            self.general.of_servers(),
            self.general.process(),
        ]
        .concat()
    }

    /// What is done with messages and replies.
    fn of_messages(&self) -> String {
        [
            line("send", self.send.map(word)),
            line("balance", self.balance.as_deref().map(text)),
            line("replies", self.replies.map(word)),
            line("correlate", self.correlate.as_deref().map(text)),
            line("order", self.order.map(word)),
            line("retry", self.retry.map(|times| times.to_string())),
            line("timeout", self.timeout.map(time)),
            line("on_timeout", self.on_timeout.as_deref().map(text)),
            line("gather", self.gather.map(word)),
            line("quorum", self.quorum.map(|count| count.to_string())),
            line("outstanding_max", self.outstanding_max.map(|count| count.to_string())),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser as _;

    use super::super::written::meant;
    use super::super::{Cli, Command};

    fn flags(args: &[&str]) -> String {
        let cli = Cli::try_parse_from(["selat", "dispatch"].iter().chain(args)).unwrap();
        let Some(Command::Dispatch(dispatch)) = cli.command else { unreachable!("it was asked for") };
        dispatch.toml()
    }

    #[test]
    fn flags_come_to_the_file_that_says_the_same() {
        let few = flags(&[":8765", "ws://a/rpc"]);
        let file = "[listen.public]\naddr = \":8765\"\n[route.default]\ndispatch = \"default\"\n[dispatch.default]\n\
                    backends = [\"ws://a/rpc\"]\n";
        assert_eq!(meant(&few).unwrap(), meant(file).unwrap());

        let one = "[::1]:1 ws://a ws://b --send one --balance hash:/user --replies one --correlate /id --order as-asked \
                   --retry 2 --timeout 3s --on-timeout {\"id\":{id},\"key\":\"${KEY}\"} --outstanding-max 50 \
                   --message-bytes-max 64KiB --connect-timeout 2s --idle-timeout 4s";
        let file = r#"
            listen.public.addr = "[::1]:1"
            [route.default]
            dispatch = "default"
            limits.message = "64KiB"
            timeouts.idle = "4s"
            [dispatch.default]
            backends = ["ws://a", "ws://b"]
            balance = "hash:/user"
            correlate = "/id"
            order = "as-asked"
            retry = 2
            timeout = "3s"
            on_timeout = '{"id":{id},"key":"$${KEY}"}'
            outstanding_max = 50
            connect_timeout = "2s"
        "#;
        let args: Vec<_> = one.split_whitespace().collect();
        assert_eq!(meant(&flags(&args)).unwrap(), meant(file).unwrap());

        let all = ":1 ws://a ws://b --send all --gather array --quorum 2";
        let file = "listen.public.addr = ':1'\n[route.default]\ndispatch = 'default'\n[dispatch.default]\n\
                    backends = ['ws://a', 'ws://b']\nsend = 'all'\ngather = 'array'\nquorum = 2\n";
        let args: Vec<_> = all.split_whitespace().collect();
        assert_eq!(meant(&flags(&args)).unwrap(), meant(file).unwrap());
    }

    #[test]
    fn what_could_not_work_is_told() {
        let rows: [(&[&str], &str); 4] = [
            (&[":1"], "BACKEND"),
            (&[":1", "ws://a", "--retry", "1"], "--correlate <POINTER>"),
            (&[":1", "ws://a", "--gather", "array"], "--send <WHO>"),
            (&[":1", "ws://a", "--order", "asked"], "as-asked"),
        ];
        for (args, part) in rows {
            let error =
                Cli::try_parse_from(["selat", "dispatch"].iter().chain(args)).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
        let wrong = meant(&flags(&[":1", "ws://a", "--replies", "any", "--order", "as-asked"])).unwrap_err();
        assert!(wrong.contains("order in [dispatch.default]: with replies = \"any\""), "{wrong}");
    }
}
