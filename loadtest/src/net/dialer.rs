//! Connecting, over and over, to the same server.

use std::sync::Arc;

use anyhow::Context;
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::tls::Tls;
use super::{Broken, Security, Socket, Stream, Target, Transport, Window};

/// Where connections go, and how.
pub(crate) struct Dialer {
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Dialer {
    /// Connections to `target`, secured like this.
    ///
    /// # Errors
    /// `security` and `target` do not fit each other, or the authorities cannot be read.
    pub(crate) fn new(target: &Target, security: &Security) -> anyhow::Result<Self> {
        let tls = match target.transport {
            Transport::Tcp => {
                security.expect_unused()?;
                None
            }
            Transport::Tls => {
                let name = ServerName::try_from(target.name().to_owned());
                let name = name.with_context(|| format!("{} can be in no certificate", target.name()))?;
                Some((security.config()?, name))
            }
        };
        Ok(Self { target: target.clone(), tls })
    }

    /// Where they go.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Begins to connect; `serial` tells connections apart, `window` says how much may wait to be read.
    ///
    /// # Errors
    /// What can be known at once: no descriptor, no local port, no route.
    pub(crate) fn dial(&self, serial: u32, window: Window) -> Result<Stream, Broken> {
        let socket = match Socket::connect(self.target.address, None, window) {
            // The ports of the kernel's choice of address are used up; on loopback there are other addresses.
            Err(Errno::ADDRNOTAVAIL) => {
                Socket::connect(self.target.address, self.target.source(serial), window)
            }
            other => other,
        }?;
        Ok(match &self.tls {
            None => Stream::Plain(socket),
            Some((config, name)) => Stream::Tls(Box::new(Tls::new(config.clone(), name.clone(), socket)?)),
        })
    }
}
