//! TLS between nodes: both sides present a certificate, and there is no authority.
//!
//! The verifiers read key and nonce from the certificate, check the proof of work, and verify the
//! handshake's signature with the very key they read, so that a second parser cannot disagree with
//! the first. Both run inside the handshake: no stream exists before they have accepted.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError as TlsCertificateError, ClientConfig, DigitallySignedStruct,
    DistinguishedName, Error, OtherError, ServerConfig, SignatureScheme,
};
use tesseras_core::ids::NodeId;
use tesseras_crypto::{NodeKeys, NodePublic};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::certificate::{self, CertificateError};

/// The protocol name that both sides must offer.
pub const ALPN: &[u8] = b"tesseras/1";

/// The server name that QUIC requires. Nodes have none, so it is constant, and it is not sent.
pub(crate) const SERVER_NAME: &str = "node.tesseras.invalid";

/// The bytes before the 32 bytes of a seed in the PKCS#8 form of an Ed25519 key (RFC 8410).
const PKCS8_HEADER: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Why a peer's certificate is refused.
#[derive(Debug, Error)]
enum PeerRefused {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the node's proof of work has {found} bits; {needed} are required")]
    Work { found: u32, needed: u32 },
    #[error("this is node {found}, not {expected}")]
    WrongNode { expected: NodeId, found: NodeId },
    #[error("one certificate was expected, not a chain")]
    Chain,
}

impl From<PeerRefused> for Error {
    fn from(refused: PeerRefused) -> Self {
        TlsCertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

/// This node's certificate and key, and the cryptography it is used with.
#[derive(Clone)]
pub(crate) struct TlsIdentity {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    work_bits: u32,
}

impl TlsIdentity {
    /// Prepares the identity of a node in a network that requires `work_bits` of proof of work.
    pub(crate) fn new(keys: &NodeKeys, work_bits: u32) -> Result<Self, TlsIdentityError> {
        let certificate = certificate::make(keys)?;
        let mut pkcs8 = Zeroizing::new([0; 48]);
        pkcs8[..16].copy_from_slice(&PKCS8_HEADER);
        pkcs8[16..].copy_from_slice(&*keys.seed());
        let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..]))?;
        let mut provider = aws_lc_rs::default_provider();
        // The hybrid first, so that traffic recorded today cannot be decrypted by a later quantum
        // computer.
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
        Ok(Self {
            key: Arc::new(CertifiedKey::new(vec![certificate], key)),
            provider: Arc::new(provider),
            work_bits,
        })
    }

    /// The configuration for incoming connections: TLS 1.3 only, client certificates required, no
    /// resumption.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(AnyNode { work_bits: self.work_bits }))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// The configuration for a connection to one node, which `expectation` checks and records.
    pub(crate) fn client_config(
        &self,
        expectation: Arc<Expectation>,
    ) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(expectation)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }

    /// Expects `expected`, or, on a bootstrap dial, any node with enough proof of work.
    pub(crate) fn expect(&self, expected: Option<NodeId>) -> Arc<Expectation> {
        Arc::new(Expectation { work_bits: self.work_bits, expected, found: OnceLock::new() })
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("work_bits", &self.work_bits).finish_non_exhaustive()
    }
}

/// Why an identity cannot be used for TLS.
#[derive(Debug, Error)]
pub(crate) enum TlsIdentityError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Tls(#[from] Error),
}

/// Checks the one node that answers a dial.
#[derive(Debug)]
pub(crate) struct Expectation {
    work_bits: u32,
    expected: Option<NodeId>,
    found: OnceLock<NodePublic>,
}

impl Expectation {
    /// The node that answered, once it presented a readable certificate with enough proof of work;
    /// its identity is proven only once the handshake has ended.
    pub(crate) fn found(&self) -> Option<NodePublic> {
        self.found.get().copied()
    }
}

impl ServerCertVerifier for Expectation {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let public = check(end_entity, intermediates, self.work_bits)?;
        let found = public.id();
        let _ = self.found.set(public);
        match self.expected {
            Some(expected) if expected != found => {
                Err(PeerRefused::WrongNode { expected, found }.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Checks any node that dials us.
#[derive(Debug)]
struct AnyNode {
    work_bits: u32,
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check(end_entity, intermediates, self.work_bits)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn check(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    needed: u32,
) -> Result<NodePublic, PeerRefused> {
    if !intermediates.is_empty() {
        return Err(PeerRefused::Chain);
    }
    let public = certificate::read(end_entity)?;
    let found = public.work_bits();
    if found < needed {
        return Err(PeerRefused::Work { found, needed });
    }
    Ok(public)
}

/// The strict check of [`NodePublic`] rather than the provider's: it also refuses weak keys, for
/// which a signature can be made without the secret.
fn check_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let public = certificate::read(cert).map_err(PeerRefused::from)?;
    if dss.scheme != SignatureScheme::ED25519 || !public.verify(message, dss.signature()) {
        return Err(TlsCertificateError::BadSignature.into());
    }
    Ok(HandshakeSignatureValid::assertion())
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is supported".to_owned())
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, HandshakeKind, NamedGroup, ServerConnection};

    use super::*;

    /// A whole handshake in memory. QUIC hides the negotiated group, these connections do not.
    fn handshake(
        client: &TlsIdentity,
        server: &TlsIdentity,
        expected: Option<NodeId>,
    ) -> Result<(ClientConnection, ServerConnection), Error> {
        let config = client.client_config(client.expect(expected))?;
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut out = ClientConnection::new(Arc::new(config), name)?;
        let mut into = ServerConnection::new(Arc::new(server.server_config()?))?;
        while out.is_handshaking() || into.is_handshaking() {
            let mut wire = Vec::new();
            out.write_tls(&mut wire).unwrap();
            into.read_tls(&mut wire.as_slice()).unwrap();
            into.process_new_packets()?;
            wire.clear();
            into.write_tls(&mut wire).unwrap();
            out.read_tls(&mut wire.as_slice()).unwrap();
            out.process_new_packets()?;
        }
        Ok((out, into))
    }

    fn node(work_bits: u32) -> (NodeKeys, TlsIdentity) {
        let keys = NodeKeys::generate(work_bits).unwrap();
        let identity = TlsIdentity::new(&keys, work_bits).unwrap();
        (keys, identity)
    }

    #[test]
    fn the_key_exchange_is_hybrid_and_nothing_is_resumed() {
        let ((_, a), (keys, b)) = (node(0), node(0));
        for _ in 0..2 {
            let (out, into) = handshake(&a, &b, Some(keys.id())).unwrap();
            let group = out.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
            assert_eq!(out.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
            assert_eq!(out.alpn_protocol(), Some(ALPN));
            assert_eq!(into.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(into.server_name(), None);
            assert_eq!(out.tls13_tickets_received(), 0);
        }
    }

    #[test]
    fn another_node_and_too_little_work_are_refused() {
        let ((_, a), (_, b)) = (node(0), node(0));
        let (other, _) = node(0);
        assert!(handshake(&a, &b, None).is_ok());
        assert!(handshake(&a, &b, Some(other.id())).is_err());
        let (_, worker) = node(8);
        let idle = loop {
            let (keys, identity) = node(0);
            if keys.public().work_bits() < 8 {
                break identity;
            }
        };
        assert!(handshake(&worker, &idle, None).is_err(), "an idle server");
        assert!(handshake(&idle, &worker, None).is_err(), "an idle client");
        assert!(handshake(&idle, &a, None).is_ok(), "where no work is required");
    }

    #[test]
    fn somebody_elses_certificate_is_worth_nothing() {
        let ((victim, _), (_, honest), (thief, mut forged)) = (node(0), node(0), node(0));
        let stolen = certificate::make(&victim).unwrap();
        assert_ne!(thief.id(), victim.id());
        forged.key = Arc::new(CertifiedKey::new(vec![stolen], forged.key.key.clone()));
        assert!(handshake(&honest, &forged, Some(victim.id())).is_err());
        assert!(handshake(&forged, &honest, None).is_err());
    }
}
