//! What the whole process has only so many of, and who gets it: seats on backends, connections on routes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::balance::{self, Arbiter, BackendId, Decision, Snapshot, Ticket};
use crate::config::Config;
use crate::guard::{Census, Denial, Party};
use crate::wires::{Ask, Denied, Release, Ruling};

/// Rules on what the shards ask for.
#[derive(Default)]
pub(super) struct Grants {
    arbiter: Arbiter,
    census: Census,
    /// Names of pools, by their index in the configuration.
    pools: Vec<Arc<str>>,
    /// The census's numbers for routes. A route keeps its number, though a reload removes it: it may have sessions.
    routes: HashMap<Arc<str>, u32>,
}

/// The answers that have become due.
pub(super) type Rulings = Vec<(Ticket, Ruling)>;

impl Grants {
    /// Another configuration. Who waits for a pool that is gone is turned away.
    pub(super) fn handle_config(&mut self, config: &Config) -> Rulings {
        let index = |name: &Arc<str>| self.pools.iter().position(|former| former == name);
        let pools: Vec<_> = config.pools.iter().map(|pool| (pool.queue, index(&pool.name))).collect();
        self.pools = config.pools.iter().map(|pool| pool.name.clone()).collect();
        crowded(self.arbiter.handle_pools(&pools))
    }

    /// Backends have come, gone or changed.
    pub(super) fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Rulings {
        self.arbiter.handle_snapshot(snapshot).into_iter().map(placed).collect()
    }

    /// A shard asks; `None` while the answer has to wait.
    pub(super) fn handle_ask(&mut self, ticket: Ticket, ask: Ask, now: Instant) -> Option<Ruling> {
        match ask {
            Ask::Route { route, client, limits } => {
                let number = self.number(&route);
                Some(match self.census.handle_ask(number, client, limits) {
                    Ok(()) => Ruling::Admitted,
                    Err(Denial::AddressFull) => Ruling::Denied(Denied::Address),
                    Err(Denial::IdentityFull) => Ruling::Denied(Denied::Identity),
                    Err(_) => Ruling::Denied(Denied::Route),
                })
            }
            Ask::Backend { pool, preferred, tried } => {
                let Some(pool) = self.pools.iter().position(|name| *name == pool) else {
                    return Some(Ruling::Crowded);
                };
                match self.arbiter.handle_ask(ticket, balance::Ask { pool, preferred, tried }, now) {
                    Decision::Granted(backend) => Some(Ruling::Placed(backend)),
                    Decision::Queued => None,
                    Decision::Full => Some(Ruling::Crowded),
                }
            }
        }
    }

    /// A shard has sessions on backends that have a limit only now.
    pub(super) fn handle_adopted(&mut self, sessions: &[(BackendId, u32)]) {
        sessions.iter().for_each(|(backend, sessions)| self.arbiter.handle_adopted(*backend, *sessions));
    }

    /// A shard gives something back; whoever waited for it gets it.
    pub(super) fn handle_release(&mut self, release: Release) -> Option<(Ticket, Ruling)> {
        match release {
            Release::Route { route, client } => {
                self.release_route(&route, client);
                None
            }
            Release::Backend(backend) => self.arbiter.handle_release(backend).map(placed),
            Release::Ask(ticket) => self.arbiter.handle_cancel(ticket).then_some((ticket, Ruling::Crowded)),
        }
    }

    /// Time has come to at least [`Self::deadline`].
    pub(super) fn handle_time(&mut self, now: Instant) -> Rulings {
        crowded(self.arbiter.handle_time(now))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.arbiter.deadline()
    }

    /// Sessions that wait for a seat in the pool of this index.
    pub(super) fn waiting(&self, pool: usize) -> usize {
        self.arbiter.waiting(pool)
    }

    fn number(&mut self, route: &Arc<str>) -> u32 {
        let next = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        *self.routes.entry(route.clone()).or_insert(next)
    }

    fn release_route(&mut self, route: &Arc<str>, client: Party) {
        let number = self.number(route);
        self.census.handle_release(number, client);
    }
}

fn placed((ticket, backend): (Ticket, BackendId)) -> (Ticket, Ruling) {
    (ticket, Ruling::Placed(backend))
}

fn crowded(tickets: Vec<Ticket>) -> Rulings {
    tickets.into_iter().map(|ticket| (ticket, Ruling::Crowded)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::ShardId;
    use crate::guard::{Identity, Limits};

    #[test]
    fn tells_which_count_of_a_route_is_full_and_gives_back_what_was_released() {
        let party = |name: &str, host| Party {
            ip: Some([192, 0, 2, host].into()),
            identity: Identity::named(name).key(),
        };
        let route: Arc<str> = "chat".into();
        let limits = Limits { per_ip: Some(2), per_identity: Some(1), max: Some(3) };
        let now = crate::control::now();
        let mut grants = Grants::default();
        let ask = |grants: &mut Grants, client| {
            let ticket = Ticket { shard: ShardId(0), number: 1 };
            grants.handle_ask(ticket, Ask::Route { route: route.clone(), client, limits }, now)
        };
        let rows = [
            (party("ann", 1), Ruling::Admitted),
            (party("ann", 2), Ruling::Denied(Denied::Identity)),
            (party("bob", 1), Ruling::Admitted),
            (party("cleo", 1), Ruling::Denied(Denied::Address)),
            (party("cleo", 2), Ruling::Admitted),
            (party("dan", 2), Ruling::Denied(Denied::Route)),
        ];
        for (client, ruling) in rows {
            assert_eq!(ask(&mut grants, client), Some(ruling));
        }
        grants.handle_release(Release::Route { route: "chat".into(), client: party("ann", 1) });
        assert_eq!(ask(&mut grants, party("ann", 2)), Some(Ruling::Admitted));
    }
}
