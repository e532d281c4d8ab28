//! The self-signed certificate that carries a node's key and nonce through a TLS handshake.
//!
//! A node has no name and no authority vouches for it: its NodeId follows from the key and the
//! nonce, and a certificate only carries these two. The key is the certificate's Ed25519 subject
//! key; the nonce is the content of one private, non-critical extension ([`NONCE_OID`]), a DER
//! `OCTET STRING` of 8 bytes. Names, dates and the certificate's own signature are ignored: TLS
//! proves possession of the key by its own signature over the handshake.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, PublicKeyData, SigningKey};
use rustls::pki_types::CertificateDer;
use tesseras_crypto::{NodeKeys, NodePublic};
use thiserror::Error;
use x509_parser::oid_registry::{OID_SIG_ED25519, Oid};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The extension that holds the nonce: 2.25.8387236820507844979.
///
/// 2.25 is the arc for UUID-derived identifiers, under which anyone may choose a unique number;
/// this one is the eight ASCII letters `tesseras` read as a big-endian number.
pub const NONCE_OID: [u64; 3] = [2, 25, u64::from_be_bytes(*b"tesseras")];

/// The longest certificate that is read, in bytes. Ours have about 300.
pub const MAX_CERTIFICATE_BYTES: usize = 2048;

/// The DER header of an `OCTET STRING` of 8 bytes.
const NONCE_HEADER: [u8; 2] = [0x04, 0x08];

/// Why a certificate could not be made, or is not valid for a node.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The certificate could not be encoded.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// It is longer than [`MAX_CERTIFICATE_BYTES`].
    #[error("a certificate of {0} bytes is too long")]
    TooLong(usize),
    /// The bytes are not an X.509 certificate, or are followed by more bytes.
    #[error("not an X.509 certificate")]
    NotX509,
    /// Its key is not Ed25519.
    #[error("the certificate's key is not Ed25519")]
    NotEd25519,
    /// The nonce is missing, present twice, or not 8 bytes.
    #[error("the certificate has no valid node nonce")]
    NoNonce,
}

/// Makes a node's certificate. The same keys always give the same certificate.
pub fn make(keys: &NodeKeys) -> Result<CertificateDer<'static>, CertificateError> {
    let public = keys.public();
    let mut nonce = NONCE_HEADER.to_vec();
    nonce.extend_from_slice(&public.nonce);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&NONCE_OID, nonce)];
    let signer = Signer { keys, public_key: public.public_key };
    Ok(params.self_signed(&signer)?.into())
}

/// Reads key and nonce from a peer's certificate, and refuses anything that is not exactly one
/// certificate of a node. The handshake checks whether the peer has the secret key and whether its
/// proof of work suffices.
pub fn read(der: &[u8]) -> Result<NodePublic, CertificateError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::TooLong(der.len()));
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| CertificateError::NotX509)?;
    if !rest.is_empty() {
        return Err(CertificateError::NotX509);
    }
    let key = certificate.public_key();
    if key.algorithm.algorithm != OID_SIG_ED25519
        || key.algorithm.parameters.is_some()
        || key.subject_public_key.unused_bits != 0
    {
        return Err(CertificateError::NotEd25519);
    }
    let public_key = <[u8; 32]>::try_from(key.subject_public_key.data.as_ref())
        .map_err(|_| CertificateError::NotEd25519)?;
    let oid = Oid::from(&NONCE_OID).expect("a constant and valid OID");
    let extension = certificate
        .get_extension_unique(&oid)
        .map_err(|_| CertificateError::NoNonce)?
        .ok_or(CertificateError::NoNonce)?;
    let nonce = extension
        .value
        .strip_prefix(&NONCE_HEADER)
        .and_then(|nonce| <[u8; 8]>::try_from(nonce).ok())
        .ok_or(CertificateError::NoNonce)?;
    Ok(NodePublic { public_key, nonce })
}

/// Gives rcgen access to the node's key without copying the secret.
struct Signer<'a> {
    keys: &'a NodeKeys,
    public_key: [u8; 32],
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.keys.sign(message).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn keys() -> NodeKeys {
        NodeKeys::from_parts(&[7; 32], [1, 2, 3, 4, 5, 6, 7, 8])
    }

    #[test]
    fn key_and_nonce_come_back() {
        let certificate = make(&keys()).unwrap();
        assert_eq!(read(&certificate).unwrap(), keys().public());
        assert_eq!(make(&keys()).unwrap(), certificate);
        assert!(certificate.len() < MAX_CERTIFICATE_BYTES / 4);
    }

    #[test]
    fn anything_else_is_refused() {
        let mut longer = make(&keys()).unwrap().to_vec();
        longer.push(0);
        assert!(matches!(read(&longer), Err(CertificateError::NotX509)));
        longer.resize(MAX_CERTIFICATE_BYTES + 1, 0);
        assert!(matches!(read(&longer), Err(CertificateError::TooLong(_))));
        assert!(matches!(read(b""), Err(CertificateError::NotX509)));

        let other = rcgen::KeyPair::generate().unwrap();
        let p256 = CertificateParams::default().self_signed(&other).unwrap();
        assert!(matches!(read(p256.der()), Err(CertificateError::NotEd25519)));

        let keys = keys();
        let signer = Signer { keys: &keys, public_key: keys.public().public_key };
        let with = |extensions: Vec<CustomExtension>| {
            let mut params = CertificateParams::default();
            params.custom_extensions = extensions;
            read(params.self_signed(&signer).unwrap().der())
        };
        let nonce = |content: &[u8]| CustomExtension::from_oid_content(&NONCE_OID, content.into());
        let good = [4, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        assert!(with(vec![nonce(&good)]).is_ok());
        assert!(matches!(with(vec![]), Err(CertificateError::NoNonce)));
        assert!(matches!(with(vec![nonce(&good[..9])]), Err(CertificateError::NoNonce)));
        assert!(matches!(with(vec![nonce(&good[2..])]), Err(CertificateError::NoNonce)));
        assert!(with(vec![nonce(&good), nonce(&good)]).is_err());
    }

    proptest! {
        #[test]
        fn damaged_certificates_never_panic(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = make(&keys()).unwrap().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
            let _ = read(&bytes[..at]);
        }
    }
}
