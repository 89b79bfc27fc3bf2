//! `selat-load`: the instrument that selat is measured with, and useful against any WebSocket server.
//!
//! - [`wire`] (pure): what goes over a connection; prepares messages, checks answers, turns frames into echoes.
//! - [`net`]: non-blocking sockets, TLS over them and edge-triggered epoll, through safe calls only.
//! - [`client`]: one connection's life ([`client::Session`]) and many of them on one thread ([`client::Swarm`]).
//! - [`crew`]: threads, each with a swarm, that make load together, and the one that puts together what they saw.
//! - [`scenario`]: what the commands `echo`, `storm`, `feed` and `idle` do with a crew.
//! - [`serve`](mod@serve): the other end: an echo server and the source of a feed; and as controls, which do as little as can be
//!   done, a relay of bytes and a broadcaster of frames.
//! - [`watch`]: what the servers cost, read from `/proc`; [`record`]: all that a run yields, as plain data;
//!   [`report`]: that, for people and for machines.
//! - [`compare`]: several targets, started, measured in turn and ended; [`comparison`]: what that yields.
//!
//! What it measures must be the server, so it does little itself: messages are masked once and stamped per use, a
//! whole run leaves in one write, and no message allocates.

mod cli;
mod client;
mod clock;
mod compare;
mod comparison;
mod crew;
mod host;
mod limits;
mod net;
mod record;
mod report;
mod scenario;
mod serve;
mod watch;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, ServeCommand};
use record::Verdict;

/// What was measured is sound, but the server lost, changed or refused something.
const EXIT_FAULTS: u8 = 1;

/// Nothing could be measured.
const EXIT_UNABLE: u8 = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Faults) => ExitCode::from(EXIT_FAULTS),
        Err(error) => {
            eprintln!("selat-load: {error:#}");
            ExitCode::from(EXIT_UNABLE)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Verdict> {
    let (found, outputs) = match cli.command {
        Command::Serve { command } => return serve(&command).map(|()| Verdict::Clean),
        Command::Echo(args) => (scenario::echo(&args)?.into(), args.common.outputs()),
        Command::Storm(args) => (scenario::storm(&args)?.into(), args.common.outputs()),
        Command::Feed(args) => (scenario::feed(&args)?.into(), args.common.outputs()),
        Command::Idle(args) => (scenario::idle(&args)?.into(), args.common.outputs()),
        Command::Compare(args) => (compare::compare(&args)?.into(), args.outputs()),
        Command::Page(args) => {
            report::document::write(&args.template, &args.page)?;
            return Ok(Verdict::Clean);
        }
        Command::Report(args) => (report::read(&args.file)?, args.outputs()),
    };
    report::put(&found, &outputs)?;
    Ok(found.verdict())
}

/// Serves until told to end.
fn serve(command: &ServeCommand) -> anyhow::Result<()> {
    match command {
        ServeCommand::Echo(args) => serve::echo(args),
        ServeCommand::Faulty(args) => serve::faulty(args),
        ServeCommand::Relay(args) => serve::relay(args),
        ServeCommand::Broadcast(args) => match serve::broadcast(args)? {},
        ServeCommand::Ticker(args) => serve::ticker(args),
    }
}
