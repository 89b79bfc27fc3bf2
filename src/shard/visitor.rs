//! Who has connected, and what is known of them: more with every step of the handshake.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::permit::Permit;
use super::plan::{Plan, RouteState, Secure};
use crate::config::Listen;
use crate::guard::{Identity, Party};
use crate::protocol::handshake::{Facts, Hop, RequestHead, Scheme, UpgradeRequest};
use crate::routing::ListenId;
use crate::runtime::Stream;
use crate::telemetry::{Refused, Traffic};
use crate::wires::{End, SessionRecord, ToControl};

/// Bytes of a path in the log; what is longer is cut.
const PATH_BYTES_MAX: usize = 256;

/// A client on its way to a session.
pub(super) struct Visitor {
    listener: ListenId,
    /// Who is at the other end of the connection; `None` for a client of a Unix socket.
    peer: Option<SocketAddr>,
    /// Whether it speaks TLS.
    is_secure: bool,
    pub(super) guest: Guest,
}

/// What of a client is of interest as long as its session lasts.
pub(super) struct Guest {
    /// The client, as trusted proxies tell, else the peer; with its port, which is 0 where others speak for it.
    client: Option<(IpAddr, u16)>,
    /// Where it has connected to, if anybody has said so.
    local: Option<Box<SocketAddr>>,
    pub(super) route: Option<Rc<RouteState>>,
    path: Box<str>,
    /// Who it has proved to be: to its route, or else by its certificate.
    identity: Identity,
    /// Where its route has only so many connections.
    pub(super) permit: Permit,
}

impl Visitor {
    pub(super) fn new(peer: Option<SocketAddr>, listener: ListenId) -> Self {
        let guest = Guest {
            client: peer.map(itself),
            local: None,
            route: None,
            path: Box::default(),
            identity: Identity::ANONYMOUS,
            permit: Permit::NONE,
        };
        Self { listener, peer, is_secure: false, guest }
    }

    /// Where it has come in.
    pub(super) fn listen<'p>(&self, plan: &'p Plan) -> Option<&'p Listen> {
        plan.config.listeners.get(self.listener.index())
    }

    /// How TLS is spoken where it has come in, if it is.
    pub(super) fn secure<'p>(&self, plan: &'p Plan) -> Option<&'p Secure> {
        plan.secure(self.listener)
    }

    /// It speaks TLS, and has shown a certificate with this name, if any.
    pub(super) fn handle_secured(&mut self, name: Option<String>) {
        self.is_secure = true;
        self.guest.identify(name.as_deref().map(Identity::named).unwrap_or_default());
    }

    /// Whom its session is counted under.
    pub(super) fn party(&self) -> Party {
        Party { ip: self.client(), identity: self.guest.identity.key() }
    }

    /// Whether it is a proxy whose word counts.
    pub(super) fn is_trusted(&self, plan: &Plan) -> bool {
        self.peer.is_some_and(|peer| plan.config.forwarding.trusts(peer.ip()))
    }

    /// It has said for whom it connects; where it does not know, its own address counts.
    pub(super) fn announce(&mut self, source: Option<SocketAddr>, destination: Option<SocketAddr>) {
        self.peer = source.or(self.peer);
        self.guest.client = self.peer.map(itself);
        self.guest.local = destination.map(Box::new);
    }

    /// The client, and what it has connected to, for a backend that wants to hear it; `socket` is its connection.
    pub(super) fn endpoints(&self, socket: &Stream) -> Option<(SocketAddr, SocketAddr)> {
        self.guest.endpoints(socket)
    }

    /// Finds the route for this head, and who really sent it. A target that is no path takes a route for every path,
    /// for its upgrade to be judged there.
    pub(super) fn take_route(&mut self, plan: &Plan, head: &RequestHead<'_>) -> Option<Rc<RouteState>> {
        let path = head.path().unwrap_or_default();
        let shown = path.floor_char_boundary(PATH_BYTES_MAX);
        self.guest.path = path.get(..shown).unwrap_or_default().into();
        self.guest.client = self.peer.map(|peer| {
            let client = plan.config.forwarding.real_client(peer.ip(), head);
            let is_itself = peer.ip().to_canonical() == client.to_canonical();
            (client, if is_itself { peer.port() } else { 0 })
        });
        self.guest.route = plan.route(self.listener, head.host().unwrap_or_default(), path);
        self.guest.route.clone()
    }

    pub(super) fn route(&self) -> Option<&Rc<RouteState>> {
        self.guest.route.as_ref()
    }

    /// The client's address, for limits and hashing.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.guest.client.map(|(ip, _)| ip)
    }

    /// What headers may tell of it.
    pub(super) fn facts<'f>(&'f self, request: &'f UpgradeRequest<'_>) -> Facts<'f> {
        Facts {
            client: self.client(),
            host: request.authority(),
            path: request.path(),
            route: self.route().map_or("", |route| &route.route.name),
            identity: self.guest.identity.name(),
        }
    }

    /// How the request reached us; `socket` is its connection.
    pub(super) fn hop(&self, socket: &Stream) -> Hop {
        let port = self.guest.local(socket).map(|local| local.port());
        let scheme = if self.is_secure { Scheme::Https } else { Scheme::Http };
        Hop { peer: self.peer.map(|peer| peer.ip()), scheme, port }
    }

    /// The client's address for the log.
    pub(super) fn name(&self) -> String {
        self.guest.name()
    }

    /// Counts that it got no session, and has it logged.
    pub(super) fn record_refusal(&self, shard: &Shard, refused: Refused) {
        shard.count_refusal(refused, self.route().map(|route| &route.books));
        shard.log(self.guest.record(End::Refused(refused)));
    }
}

/// A peer that nobody speaks for.
fn itself(peer: SocketAddr) -> (IpAddr, u16) {
    (peer.ip(), peer.port())
}

impl Guest {
    /// It has proved to be this one; if that is nobody in particular, it stays who it was.
    pub(super) fn identify(&mut self, identity: Identity) {
        if identity.name().is_some() {
            self.identity = identity;
        }
    }

    /// The client, and what it has connected to by `socket`, for a backend that wants to hear it.
    pub(super) fn endpoints(&self, socket: &Stream) -> Option<(SocketAddr, SocketAddr)> {
        Some((self.client?.into(), self.local(socket)?))
    }

    fn local(&self, socket: &Stream) -> Option<SocketAddr> {
        self.local.as_deref().copied().or_else(|| socket.local_address())
    }

    fn name(&self) -> String {
        match self.client {
            None => "unix".to_owned(),
            Some((ip, 0)) => ip.to_string(),
            Some(client) => SocketAddr::from(client).to_string(),
        }
    }

    /// The beginning of its line in the log.
    pub(super) fn record(&self, end: End) -> SessionRecord {
        SessionRecord {
            client: self.name(),
            route: self.route.as_ref().map(|route| route.route.name.clone()),
            path: self.path.to_string(),
            identity: self.identity.name().map(str::to_owned),
            backend: None,
            end,
            duration: Duration::ZERO,
            from_client: Traffic::default(),
            from_backend: Traffic::default(),
        }
    }
}

impl Shard {
    /// Sends a record off to be logged. The control plane is not woken for it: it looks often enough, and a shard
    /// waits for no log.
    pub(super) fn log(&self, record: SessionRecord) {
        if self.control.post(ToControl::Session(Box::new(record))).is_err() {
            self.count(|counters| counters.lines_dropped += 1);
        }
    }
}
