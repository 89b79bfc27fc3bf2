//! `selat top`: looks again and again, and shows what has changed in between.
//!
//! [`watch`] owns the terminal and gives it back however it ends; [`Screen`] decides what is shown, without a
//! terminal.

mod dispatches;
mod feeds;
mod rates;
mod screen;
mod view;

use std::io;
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::telemetry::Overview;

use super::OpsError;
use super::client::{Client, Method, parse};

use rates::Rates;
use screen::{Reaction, Screen};

/// Keys and looks that wait to be shown.
const WAITING_MAX: usize = 16;

/// What one look came to.
type Look = Result<Overview, OpsError>;

/// Shows it until the user or a signal ends it.
///
/// # Errors
/// When the terminal cannot be used. A selat that does not answer is no error: it may come back.
///
/// # Cancel safety
/// To be dropped to end it: the terminal is given back.
pub(super) async fn watch(client: &Client, every: Duration) -> Result<(), OpsError> {
    let mut signals = Signals::new()?;
    let mut looks = Looks::start(client.clone(), every);
    let mut screen = Screen::new(client.address().to_string());
    let _given_back = GivenBack;
    // From here on panics give it back too, before they are shown: ratatui's hook sees to it.
    let mut terminal = ratatui::try_init()?;
    let mut events = events();
    loop {
        terminal.draw(|frame| view::draw(&mut screen, frame))?;
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => match screen.handle_event(&event) {
                    Reaction::Draw => {}
                    // Not `clear`: it asks the terminal where the cursor is, and the thread would read the answer.
                    Reaction::DrawAnew => terminal.resize(terminal.size()?.into())?,
                    Reaction::Quit => return Ok(()),
                },
                // The terminal is gone.
                None => return Ok(()),
            },
            look = looks.inbox.recv() => match look {
                Some(look) => screen.handle_look(look),
                None => return Err(OpsError::Terminal(io::Error::other("the looking stopped; please report this"))),
            },
            () = signals.any() => return Ok(()),
        }
    }
}

/// One frame, of the time between two looks, as text.
///
/// # Errors
/// When either look fails.
///
/// # Cancel safety
/// Safe.
pub(super) async fn once(client: &Client, every: Duration) -> Result<String, OpsError> {
    let mut screen = Screen::new(client.address().to_string());
    screen.handle_look(Ok(look(client).await?));
    sleep(every).await;
    screen.handle_look(Ok(look(client).await?));
    Ok(view::text(&mut screen))
}

/// # Cancel safety
/// Safe.
async fn look(client: &Client) -> Look {
    parse(client, &client.exchange(Method::GET, "/status").await?)
}

/// Looks at regular intervals, in a task of its own, so that a slow answer holds no key up.
struct Looks {
    inbox: mpsc::Receiver<Look>,
    task: AbortHandle,
}

impl Looks {
    fn start(client: Client, every: Duration) -> Self {
        let (sender, inbox) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if sender.send(look(&client).await).await.is_err() {
                    return;
                }
            }
        });
        Self { inbox, task: task.abort_handle() }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keys and resizes. Reading them blocks, so a thread does; it ends with the process.
fn events() -> mpsc::Receiver<event::Event> {
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    inbox
}

/// Gives the terminal back when dropped.
struct GivenBack;

impl Drop for GivenBack {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// The signals that end a program in a terminal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// # Cancel safety
    /// Safe: tokio keeps what has arrived.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
