//! `selat feed LISTEN SOURCE...`: one source, any number of clients.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use selat::config::{ListenAddress, parse_bytes, parse_duration};
use toml_writer::ToTomlKey;

use super::general::GeneralArgs;
use super::written::{line, list, open_text, size, text, time, word};

#[derive(Args)]
pub(super) struct FeedArgs {
    /// Where clients connect: :8765, 0.0.0.0:8765, [::1]:8765 or unix:/path
    #[arg(value_name = "LISTEN")]
    listen: ListenAddress,

    /// Where the source is: wss://vendor.example/feed, the preferred one first, then spares
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,

    /// Text that the source gets as soon as it is connected; may be given several times
    #[arg(long, value_name = "TEXT")]
    on_open: Vec<String>,

    /// Header of the request to the source; may be given several times
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// Text of the source that is not data, such as a greeting, with * for any part of it; may be given several times
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,

    /// Text after which the source is not to be dialled any more, with * for any part of it; may be given several
    /// times
    #[arg(long, value_name = "TEXT")]
    fatal: Vec<String>,

    /// Where a message says what it is about, as a JSON pointer such as /symbol
    #[arg(long, value_name = "POINTER", required_if_eq("slow", "conflate"))]
    key: Option<String>,

    /// Send the last message of every key to whoever joins
    #[arg(long, requires = "key")]
    snapshot: bool,

    /// Send the last N messages to whoever joins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    history: Option<u32>,

    /// What a client gets that does not keep up [default: disconnect]
    #[arg(long, value_enum, value_name = "POLICY")]
    slow: Option<SlowPolicy>,

    /// Bytes of messages that may wait for a client; all share them [default: 1MiB]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    buffer: Option<u64>,

    /// Time in which a client takes nothing while messages wait for it; then Close 1013 [default: 30s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    evict_after: Option<Duration>,

    /// Time without a message after which another connection is made [default: as long as it answers pings]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    stall_after: Option<Duration>,

    /// When silence is normal, such as "Fri 22:00-Sun 22:00 UTC"; may be given several times
    #[arg(long, requires = "stall_after", value_name = "WINDOW")]
    quiet: Vec<String>,

    /// Replace the connection when it is so old, before the vendor cuts it [default: never]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    rotate_every: Option<Duration>,

    /// Time for which the old and the new connection are both read [default: 5s]
    #[arg(long, value_parser = parse_duration, requires = "rotate_every", value_name = "TIME")]
    rotate_overlap: Option<Duration>,

    /// What becomes of what clients say [default: discard]
    #[arg(long, value_enum, value_name = "WHAT")]
    client_messages: Option<ClientMessages>,

    /// Text that every client gets when messages of the source may have been missed [default: none]
    #[arg(long, value_name = "TEXT")]
    gap_message: Option<String>,

    /// Offer compression to the source; clients get its messages uncompressed
    #[arg(long)]
    compression: bool,

    /// Largest message of the source [default: 1MiB]
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
enum SlowPolicy {
    /// Close 1013
    Disconnect,
    /// The messages that are still in the buffer
    DropOldest,
    /// Of each key the latest message alone, until it has caught up; needs --key
    Conflate,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClientMessages {
    /// Nothing
    Discard,
    /// Close 1008
    Reject,
    /// It goes to the source
    Forward,
}

impl FeedArgs {
    /// The name of a header that is given twice.
    pub(super) fn repeated_header(&self) -> Option<&str> {
        let mut names = self.header.iter().map(|(name, _)| name.as_str()).enumerate();
        let repeats = |(at, name): &(usize, &str)| {
            self.header.iter().take(*at).any(|(before, _)| before.eq_ignore_ascii_case(name))
        };
        names.find(repeats).map(|(_, name)| name)
    }

    /// The file that says the same, so that there is one way to a configuration.
    pub(super) fn toml(&self) -> String {
        [
            GeneralArgs::listener(&self.listen, self.cert.as_deref().zip(self.cert_key.as_deref())),
            "[route.default]\nfeed = \"default\"\n".to_owned(),
            self.general.of_route(),
            "[feed.default]\n".to_owned(),
            self.of_source(),
            self.of_clients(),
            self.general.of_servers(),
            self.general.process(),
        ]
        .concat()
    }

    /// What the source is told, and how its connection is kept.
    fn of_source(&self) -> String {
        let header = |(name, value): &(String, String)| {
            format!("headers.{} = {}\n", name.as_str().to_toml_key(), open_text(value))
        };
        let quiet = (!self.quiet.is_empty()).then(|| list(&self.quiet, text));
        [
            line("sources", Some(list(&self.sources, open_text))),
            self.header.iter().map(header).collect(),
            line("on_open", Some(list(&self.on_open, open_text))),
            line("skip", Some(list(&self.skip, text))),
            line("fatal", Some(list(&self.fatal, text))),
            line("message", self.message_bytes_max.map(size)),
            line("compression", self.compression.then(|| "true".to_owned())),
            line("stall.after", self.stall_after.map(time)),
            line("stall.quiet", quiet),
            line("rotate.every", self.rotate_every.map(time)),
            line("rotate.overlap", self.rotate_overlap.map(time)),
        ]
        .concat()
    }

    /// What clients get.
    fn of_clients(&self) -> String {
        [
            line("key", self.key.as_deref().map(text)),
            line("snapshot", self.snapshot.then(|| "true".to_owned())),
            line("history", self.history.map(|messages| messages.to_string())),
            line("slow.policy", self.slow.map(word)),
            line("slow.buffer", self.buffer.map(size)),
            line("slow.evict_after", self.evict_after.map(time)),
            line("client_messages", self.client_messages.map(word)),
            line("gap_message", self.gap_message.as_deref().map(text)),
        ]
        .concat()
    }
}

/// `Name: value`.
fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("there is no colon; write 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser as _;

    use super::super::Cli;
    use super::super::written::meant;

    fn flags(args: &[&str]) -> String {
        let cli = Cli::try_parse_from(["selat", "feed"].iter().chain(args)).unwrap();
        let Some(super::super::Command::Feed(feed)) = cli.command else { unreachable!("it was asked for") };
        feed.toml()
    }

    #[test]
    fn flags_come_to_the_file_that_says_the_same() {
        let few = flags(&[":8765", "ws://a/feed"]);
        let file = "[listen.public]\naddr = \":8765\"\n[route.default]\nfeed = \"default\"\n[feed.default]\nsources = [\"ws://a/feed\"]\n";
        assert_eq!(meant(&few).unwrap(), meant(file).unwrap());

        let all = "[::1]:1 ws://a/?t=${KEY} ws://b --on-open {\"k\":\"${KEY}\"} --on-open 2 --header X-K:${KEY} \
                   --header Y:b:c --skip Connected --skip ${KEY} --fatal *limit* --key /symbol --snapshot --history 7 \
                   --slow conflate --buffer 256KiB --evict-after 10s --stall-after 45s --rotate-every 23h \
                   --rotate-overlap 7s --client-messages forward --gap-message gap --compression --message-bytes-max 64KiB \
                   --insecure --cores 0 --max-connections 9 --head-timeout 1s --connect-timeout 2s --close-timeout 3s \
                   --idle-timeout 4s --drain-window 6s";
        let quiet = ["--quiet", "Fri 22:00-Sun 22:00 UTC", "--quiet", "Mon 00:00-Mon 01:00 UTC"];
        let args: Vec<_> = all.split_whitespace().chain(quiet).collect();
        let file = r#"
            [process]
            cores = "0"
            max_connections = 9
            drain_window = "6s"
            timeouts = { head = "1s", close = "3s" }
            [listen.public]
            addr = "[::1]:1"
            [route.default]
            feed = "default"
            timeouts = { idle = "4s", close = "3s" }
            [feed.default]
            sources = ["ws://a/?t=${KEY}", "ws://b"]
            on_open = ['{"k":"${KEY}"}', "2"]
            headers = { X-K = "${KEY}", Y = "b:c" }
            skip = ["Connected", "$${KEY}"]
            fatal = ["*limit*"]
            key = "/symbol"
            snapshot = true
            history = 7
            message = "64KiB"
            slow = { policy = "conflate", buffer = "256KiB", evict_after = "10s" }
            stall = { after = "45s", quiet = ["Fri 22:00-Sun 22:00 UTC", "Mon 00:00-Mon 01:00 UTC"] }
            rotate = { every = "23h", overlap = "7s" }
            compression = true
            client_messages = "forward"
            gap_message = "gap"
            connect_timeout = "2s"
            tls.insecure = true
        "#;
        let flags = flags(&args);
        assert_eq!(meant(&flags).unwrap(), meant(file).unwrap(), "{flags}");
        assert!(!flags.contains("s3cret"), "{flags}");
    }

    #[test]
    fn what_could_not_work_is_told_before_anything_is_read() {
        let rows: [(&[&str], &str); 6] = [
            (&[":1"], "SOURCE"),
            (&[":1", "ws://a", "--slow", "conflate"], "--key <POINTER>"),
            (&[":1", "ws://a", "--snapshot"], "--key <POINTER>"),
            (&[":1", "ws://a", "--rotate-overlap", "5s"], "--rotate-every <TIME>"),
            (&[":1", "ws://a", "--quiet", "Fri 22:00-Sun 22:00 UTC"], "--stall-after <TIME>"),
            (&[":1", "ws://a", "--header", "X-Key"], "there is no colon"),
        ];
        for (args, part) in rows {
            let error = Cli::try_parse_from(["selat", "feed"].iter().chain(args)).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
