//! Proves to authorities that names are ours, as the control plane says (RFC 8555 §8).

use std::sync::Arc;

use super::Shard;
use crate::protocol::handshake::{FixedResponse, RequestHead};
use crate::tls::{Server, ServerConfig};

/// What the paths of proofs begin with (RFC 8555 §8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

impl Shard {
    /// For the next handshake with a client of `server`.
    pub(super) fn server_config(&self, server: &Server) -> Arc<ServerConfig> {
        let challenges = self.challenges.borrow();
        if challenges.tls.is_empty() { server.config() } else { server.with_challenges(&challenges.tls) }
    }

    /// The proof that a plain request asks for; `None` for all that ask for something else, or for one that there is
    /// not.
    pub(super) fn proof(&self, head: &RequestHead<'_>) -> Option<FixedResponse> {
        let token = head.path()?.strip_prefix(WELL_KNOWN)?;
        let challenges = self.challenges.borrow();
        let proof = challenges.http.get(token)?;
        FixedResponse::new(200, "text/plain", proof.as_str(), &[]).ok()
    }
}
