//! A test client that may break the transport's rules.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tesseras_crypto::NodeKeys;
use tesseras_net::{ALPN, certificate};

use crate::node::{GENEROUS, keys};

pub struct Stranger {
    _endpoint: quinn::Endpoint,
    pub connection: quinn::Connection,
}

impl Stranger {
    /// A client that keeps the rules so far.
    pub async fn honest(address: SocketAddr) -> Result<Self, quinn::ConnectionError> {
        Self::as_node(address, &keys()).await
    }

    pub async fn as_node(
        address: SocketAddr,
        keys: &NodeKeys,
    ) -> Result<Self, quinn::ConnectionError> {
        Self::with(address, Some(certified(certificate::make(keys).unwrap(), keys)), ALPN).await
    }

    pub async fn with(
        address: SocketAddr,
        identity: Option<CertifiedKey>,
        alpn: &[u8],
    ) -> Result<Self, quinn::ConnectionError> {
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match identity {
            Some(key) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let config =
            quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let endpoint = quinn::Endpoint::client("127.0.9.9:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, address, "stranger.invalid").unwrap();
        let connection = tokio::time::timeout(GENEROUS, connecting).await.expect("an answer")?;
        Ok(Self { _endpoint: endpoint, connection })
    }

    /// Writes raw bytes on a stream of its own and reads the frame of the answer.
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (mut send, mut recv) =
            self.connection.open_bi().await.map_err(|error| error.to_string())?;
        send.write_all(bytes).await.map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(GENEROUS, recv.read_to_end(1 << 20)).await;
        let answer = answer.expect("an answer or an error").map_err(|error| error.to_string())?;
        Ok(answer[4..].to_vec())
    }

    /// Whether the other side closes the connection soon.
    pub async fn is_thrown_out(&self) -> bool {
        tokio::time::timeout(GENEROUS, self.connection.closed()).await.is_ok()
    }

    /// Drips a request of a kilobyte, a byte at a time; returns whether it was ever stopped.
    pub async fn drip(&self) -> bool {
        let (mut send, _recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&1000_u32.to_be_bytes()).await.unwrap();
        let dripping = async {
            while send.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(GENEROUS, dripping).await.is_ok()
    }
}

/// A certificate, and the key that is used with it, which need not match.
pub fn certified(certificate: CertificateDer<'static>, keys: &NodeKeys) -> CertifiedKey {
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend_from_slice(&*keys.seed());
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    CertifiedKey::new(vec![certificate], key)
}

/// Accepts any server.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
