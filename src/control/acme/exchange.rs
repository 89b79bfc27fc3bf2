//! One order, from the account to the certificate on disk (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::https::{Https, Later};
use super::proof::{self, Unmade};
use super::store::{InvalidState, Store};
use crate::config::{AcmeSettings, ChallengeKind};
use crate::tls::{Certificate, Client, ClientSettings, InvalidCertificate, Verification};
use crate::wires::Challenges;

/// How long an order may take in all. Authorities look at a name within seconds, some after a minute.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long an authority may take to look at the names, and then to sign.
const DECISION_TIMEOUT: Duration = Duration::from_secs(3 * 60);

/// How an authority says that it has no such account (RFC 8555 §6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Challenges that the shards are to have before the authority hears that it may look.
#[derive(Debug)]
pub(in super::super) struct Publication {
    pub(in super::super) challenges: Arc<Challenges>,
    /// Told when they have them.
    pub(in super::super) taken: oneshot::Sender<()>,
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Failure {
    /// Nothing can be kept.
    #[error(transparent)]
    State(#[from] InvalidState),
    /// What the authority said, or that it said nothing.
    #[error(transparent)]
    Acme(#[from] instant_acme::Error),
    /// It has looked, and was not convinced.
    #[error(
        "{domain} is not proved to be ours: {problem}; it must lead to this machine, and nobody else may answer there"
    )]
    Unproved { domain: String, problem: Problem },
    /// It looks at names in other ways only.
    #[error("the authority does not offer the challenge {challenge} for {domain}; try the other")]
    NoChallenge { domain: String, challenge: &'static str },
    /// It has ended the order without a word.
    #[error("the authority has ended the order as {0:?} and does not say why")]
    Ended(OrderStatus),
    /// A proof could not be made.
    #[error(transparent)]
    Unmade(#[from] Unmade),
    /// What it sent is no certificate, or another key's.
    #[error("the certificate that was issued: {0}")]
    Unfit(#[from] InvalidCertificate),
    /// What it sent is not what was ordered.
    #[error("the certificate that was issued is for {names:?} only")]
    OtherNames { names: Vec<String> },
    /// Nobody takes challenges any more.
    #[error("selat is ending")]
    Unpublished,
    /// All together took too long.
    #[error("it took longer than {ORDER_TIMEOUT:?}")]
    TimedOut,
    /// A fault of ours.
    #[error("it panicked; please report this")]
    Panicked,
}

impl Failure {
    /// For how long the authority wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let Self::Acme(instant_acme::Error::Other(error)) = self else { return None };
        error.downcast_ref::<Later>()?.retry_after
    }
}

/// Orders a certificate and keeps it on disk. Challenges go out through `publications`.
///
/// # Errors
/// [`Failure`], at the latest after ten minutes.
///
/// # Cancel safety
/// Safe: what is on disk is whole. The authority forgets an order that is not gone on with.
pub(super) async fn order(
    settings: Arc<AcmeSettings>,
    publications: mpsc::Sender<Publication>,
) -> Result<Certificate, Failure> {
    let exchange = Exchange { settings: &settings, publications };
    timeout(ORDER_TIMEOUT, Box::pin(exchange.run())).await.unwrap_or(Err(Failure::TimedOut))
}

struct Exchange<'s> {
    settings: &'s AcmeSettings,
    publications: mpsc::Sender<Publication>,
}

impl Exchange<'_> {
    /// # Cancel safety
    /// As [`order`].
    async fn run(&self) -> Result<Certificate, Failure> {
        let directory = self.settings.state.clone();
        let store = blocking(move || Ok(Store::open(&directory)?)).await?;
        let account = self.account(&store).await?;
        let identifiers: Vec<_> = self.settings.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = match account.new_order(&NewOrder::new(&identifiers)).await {
            Err(instant_acme::Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                // The next attempt makes another one.
                blocking(move || Ok(store.retire_account()?)).await?;
                return Err(instant_acme::Error::Api(problem).into());
            }
            order => order?,
        };
        if let Some(challenges) = self.challenges(&mut order).await? {
            self.publish(challenges).await?;
            self.invite(&mut order).await?;
        }
        self.wait_until_ready(&mut order).await?;
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&patience()).await?;
        let certificate = self.check(&chain, &key)?;
        let file = format!("{}.pem", self.settings.name());
        blocking(move || Ok(store.write(&file, format!("{key}{chain}").as_bytes())?)).await?;
        Ok(certificate)
    }

    /// The account that is kept, or a new one, which is kept.
    ///
    /// # Cancel safety
    /// Safe: at the worst an account is made that nobody uses.
    async fn account(&self, store: &Store) -> Result<Account, Failure> {
        let kept = store.clone();
        if let Some(text) = blocking(move || Ok(kept.account()?)).await?
            && let Some(credentials) = proof::credentials(&text, &self.settings.directory)
        {
            return Ok(self.builder()?.from_credentials(credentials).await?);
        }
        let contact: Vec<_> = self.settings.contact.as_deref().into_iter().collect();
        let account =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let directory = self.settings.directory.clone();
        let (account, credentials) = self.builder()?.create(&account, directory, None).await?;
        let text = serde_json::to_string(&credentials).map_err(instant_acme::Error::from)?;
        let store = store.clone();
        blocking(move || Ok(store.write_account(&text)?)).await?;
        tracing::info!(directory = self.settings.directory, "an ACME account has been made");
        Ok(account)
    }

    fn builder(&self) -> Result<AccountBuilder, Failure> {
        let verification = Verification::By(self.settings.authorities.clone());
        let client = Client::new(ClientSettings { verification, certificate: None, server_name: None })?;
        Ok(Account::builder_with_http(Box::new(Https::new(&client))))
    }

    /// The proofs that the authority wants to see; `None` where it believes us already.
    ///
    /// # Cancel safety
    /// Safe.
    async fn challenges(&self, order: &mut Order) -> Result<Option<Challenges>, Failure> {
        let mut challenges = Challenges::default();
        let mut is_asked = false;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let domain = authorization.identifier().to_string();
            let Some(challenge) = authorization.challenge(self.kind()) else {
                let challenge = self.settings.challenge.name();
                return Err(Failure::NoChallenge { domain, challenge });
            };
            is_asked = true;
            let answer = challenge.key_authorization();
            match self.settings.challenge {
                ChallengeKind::Http01 => {
                    challenges.http.insert(challenge.token.clone(), answer.as_str().to_owned());
                }
                ChallengeKind::TlsAlpn01 => {
                    challenges.tls.insert(&domain, proof::certificate(&domain, answer.digest().as_ref())?);
                }
            }
        }
        Ok(is_asked.then_some(challenges))
    }

    /// Has the shards take the challenges.
    ///
    /// # Cancel safety
    /// Safe; they may be taken.
    async fn publish(&self, challenges: Challenges) -> Result<(), Failure> {
        let (taken, is_taken) = oneshot::channel();
        let publication = Publication { challenges: Arc::new(challenges), taken };
        self.publications.send(publication).await.map_err(|_| Failure::Unpublished)?;
        is_taken.await.map_err(|_| Failure::Unpublished)
    }

    /// Tells the authority that it may look.
    ///
    /// # Cancel safety
    /// Safe.
    async fn invite(&self, order: &mut Order) -> Result<(), Failure> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Pending
                && let Some(mut challenge) = authorization.challenge(self.kind())
            {
                challenge.set_ready().await?;
            }
        }
        Ok(())
    }

    /// Waits until the authority is convinced.
    ///
    /// # Cancel safety
    /// Safe.
    async fn wait_until_ready(&self, order: &mut Order) -> Result<(), Failure> {
        let error = match order.poll_ready(&patience()).await {
            Ok(OrderStatus::Ready) => return Ok(()),
            Ok(status) => Failure::Ended(status),
            Err(error) => error.into(),
        };
        // The order says that it has failed; which name, and why, stands with that name.
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let domain = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else { break };
            let problem = state.challenges.iter().find_map(|challenge| challenge.error.clone());
            if let Some(problem) = problem {
                return Err(Failure::Unproved { domain, problem });
            }
        }
        Err(error)
    }

    /// Whether that is what was ordered.
    fn check(&self, chain: &str, key: &str) -> Result<Certificate, Failure> {
        let certificate = Certificate::from_pem(chain, key)?;
        if covers(&certificate, self.settings) {
            Ok(certificate)
        } else {
            Err(Failure::OtherNames { names: certificate.names().to_vec() })
        }
    }

    fn kind(&self) -> ChallengeType {
        match self.settings.challenge {
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
            ChallengeKind::Http01 => ChallengeType::Http01,
        }
    }
}

/// Whether a certificate is for all that is asked for.
pub(super) fn covers(certificate: &Certificate, settings: &AcmeSettings) -> bool {
    let has = |domain: &String| certificate.names().iter().any(|name| name.eq_ignore_ascii_case(domain));
    settings.domains.iter().all(has)
}

fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(DECISION_TIMEOUT)
}

/// Runs what waits for a disk where nobody else has to wait for it.
///
/// # Cancel safety
/// It goes on to its end all the same.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work).await.unwrap_or(Err(Failure::Panicked))
}
