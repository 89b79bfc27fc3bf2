//! The command line.

mod load;
mod serve;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub(crate) use load::{CommonArgs, EchoArgs, FeedArgs, IdleArgs, StormArgs};
pub(crate) use serve::{
    ListenArgs, ServeBroadcastArgs, ServeCommand, ServeEchoArgs, ServeFaultyArgs, ServeRelayArgs,
    ServeTickerArgs,
};

use crate::record::VERSION;
use crate::report::Outputs;

/// What as a file means standard output.
pub(crate) const STDOUT: &str = "-";

/// Measures WebSocket servers and proxies: throughput, latency, CPU per message, memory per connection.
///
/// Exit code 0: measured, and the server made no mistake. 1: it lost, changed or refused something, and the report
/// says what. 2: nothing could be measured.
#[derive(Debug, Parser)]
#[command(name = "selat-load", version = VERSION)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve something to be measured.
    Serve {
        #[command(subcommand)]
        command: ServeCommand,
    },
    /// Send messages and have them echoed.
    ///
    /// With --rate an open loop: messages leave when they are due, whatever the server does, and their time counts
    /// from when they were due; what a server keeps users waiting for shows. Without it a closed loop, to find what a
    /// server can do at most: every connection keeps the same number of messages in flight, and waits with a server
    /// that stalls, so that its times tell nothing of what users would have felt.
    ///
    /// Every answer is compared byte for byte with what was sent.
    Echo(EchoArgs),
    /// Connect, upgrade, echo one message, close; over and over.
    Storm(StormArgs),
    /// Follow a feed whose source is `serve ticker`, and say nothing.
    ///
    /// Every byte of every tick is checked, and that each connection has all of them once and in order, from its first
    /// on. Latency counts from the source's sending, on the clock that all processes of a machine share, so that
    /// source, feed and followers must run on one.
    Feed(FeedArgs),
    /// Hold connections that say nothing after one echo, to see what they cost.
    Idle(IdleArgs),
    /// Hold several targets against each other, in several scenarios, and report ratios.
    ///
    /// A scenario file says what is started, measured and aimed at. Targets run on cores of their own and take turns;
    /// a measurement that was disturbed is repeated. The tables are Markdown.
    Compare(CompareArgs),
    /// Show again what an earlier run or comparison wrote with --json.
    Report(ReportArgs),
    /// Make a Markdown page of a template and of results beside it.
    ///
    /// A line `{{tables NAME}}` of the template becomes the tables of NAME.json; likewise `{{about NAME}}`, `{{remarks
    /// NAME}}`, `{{plots NAME SCENARIO}}`, and for rows found by other means `{{table NAME}}`.
    Page(PageArgs),
}

/// `compare`
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// What is compared, and with which loads.
    pub(crate) file: PathBuf,
    /// Only these scenarios.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) scenario: Vec<String>,
    /// Only these targets, and controls.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// No controls, unless they are named.
    #[arg(long)]
    pub(crate) no_controls: bool,
    /// How often each target is measured in each scenario.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: Option<u32>,
    /// How long each time.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How often a disturbed measurement is tried.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: Option<u32>,
    /// How long to wait in all for other programs to be idle.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) patience: Option<Duration>,
    /// The cores of targets, such as 1 or 0-3,6; everything else has the others.
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<String>,
    /// What stands for the placeholder {NAME}; may be repeated.
    #[arg(long, value_name = "NAME=TEXT")]
    pub(crate) set: Vec<String>,
    /// Write everything as one JSON object: to FILE, or instead of the tables.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub(crate) json: Option<PathBuf>,
    /// Also write one page with plots to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl CompareArgs {
    /// Where the comparison goes.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs::new(self.json.as_deref(), self.html.as_deref())
    }
}

/// `report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// What --json wrote.
    pub(crate) file: PathBuf,
    /// Also write one page with plots to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `page`
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Prose, and lines that ask for results.
    pub(crate) template: PathBuf,
    /// The page to write.
    pub(crate) page: PathBuf,
}

impl ReportArgs {
    /// Where the record goes.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs::new(None, self.html.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn describes_a_sound_command_line() {
        Cli::command().debug_assert();
    }
}
