//! The request as a backend gets it: what belongs to the client's connection replaced, what the configuration asks
//! for rewritten, the rest as it came (RFC 9110 §7.6).

use super::fields;
use super::{Facts, Forwarding, HeaderEdits, Hop, PathRewrite, UpgradeRequest};

/// How a request is written for one backend.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'r> {
    /// The path of the backend's URL (empty, or beginning with `/`), put before the rewritten path.
    pub base_path: &'r str,
    /// What becomes of the path.
    pub path: &'r PathRewrite,
    /// Who the backend is told the client is.
    pub forwarding: &'r Forwarding,
    /// How the request reached us.
    pub hop: Hop,
    /// What becomes of the header fields, after all the rest.
    pub edits: &'r HeaderEdits,
    /// What the edits may tell.
    pub facts: &'r Facts<'r>,
}

impl UpgradeRequest<'_> {
    /// The head to send to a backend.
    #[must_use]
    pub fn head_for(&self, rewrite: &Rewrite<'_>) -> Vec<u8> {
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(b"GET ");
        head.extend_from_slice(rewrite.base_path.trim_end_matches('/').as_bytes());
        rewrite.path.push(self.path(), &mut head);
        if let Some(query) = self.query() {
            head.push(b'?');
            head.extend_from_slice(query.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        self.push_fields(rewrite, &mut head);
        rewrite.forwarding.push(self, rewrite.hop, &mut head);
        fields::push(&mut head, "Upgrade", b"websocket");
        fields::push(&mut head, "Connection", b"Upgrade");
        head.extend_from_slice(b"\r\n");
        rewrite.edits.apply(&mut head, rewrite.facts);
        head
    }

    /// The client's own fields, less those that end here or are told anew.
    fn push_fields(&self, rewrite: &Rewrite<'_>, head: &mut Vec<u8>) {
        let ends_here = |name: &str| {
            name.eq_ignore_ascii_case("content-length")
                || rewrite.forwarding.tells_anew(name, rewrite.hop.peer)
                || fields::is_hop_by_hop(self.head().headers(), name)
        };
        for (name, value) in self.fields().filter(|(name, _)| !ends_here(name)) {
            if name.eq_ignore_ascii_case("host") {
                fields::push(head, name, self.authority());
            } else if self.withholds_protocols() && name.eq_ignore_ascii_case("sec-websocket-protocol") {
                let offers: Vec<_> = self.shown_protocols(value).collect();
                if !offers.is_empty() {
                    fields::push(head, name, &offers.join(b", ".as_slice()));
                }
            } else {
                fields::push(head, name, value);
            }
        }
    }
}
