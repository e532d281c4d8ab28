//! Sockets and the QUIC settings of a node.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fmt, io};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, TransportConfig,
    VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tesseras_crypto::NodeKeys;
use thiserror::Error;
use zeroize::Zeroizing;

use super::connection::MAX_IN_FLIGHT;
use super::window;
use crate::certificate::CertificateError;
use crate::settings::{BindConfig, InboundConfig};
use crate::tls::{Expectation, TlsIdentity, TlsIdentityError};

/// The most requests that one peer may have open on one connection, including those whose end it
/// has not yet seen.
pub(super) const MAX_STREAMS: u32 = 80;
// A single node can never take all of the requests that are answered at once.
const _: () =
    assert!(MAX_STREAMS as usize * InboundConfig::MAX_PER_NODE < InboundConfig::MAX_REQUESTS);
// Stream credit is returned late, and its arrival wakes all tasks that wait for it. So our own
// requests wait for a permit instead, and hardly ever for credit.
const _: () = assert!(3 * MAX_IN_FLIGHT <= 2 * MAX_STREAMS as usize);
/// QUIC's own idle timeout is this much longer than the pool's, so that the pool closes and counts
/// idle connections itself.
const IDLE_GRACE: Duration = Duration::from_secs(10);
/// Handshakes that wait for the accept loop, and the bytes buffered for them. More are dropped
/// before any memory is allocated.
const MAX_INCOMING: usize = 64;
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 1024 * 1024;

/// Why a node cannot use the network.
#[derive(Debug, Error)]
pub enum BindError {
    /// The socket cannot be opened: the address is in use, or this machine does not have it.
    #[error("cannot listen on {address}: {source}")]
    Socket {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The node's certificate cannot be made.
    #[error(transparent)]
    Certificate(CertificateError),
    /// TLS does not accept the node's key or settings.
    #[error("cannot prepare TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// Called outside a Tokio runtime.
    #[error("a QUIC socket needs a running Tokio runtime")]
    NoRuntime,
}

/// The sockets of a node: the listening one, and one of the other address family once an address of
/// that family is dialled.
pub(crate) struct Endpoints {
    pub(crate) main: Endpoint,
    other: OnceLock<io::Result<Endpoint>>,
    takes_ipv4: bool,
    takes_ipv6: bool,
    config: EndpointConfig,
    buffer_bytes: usize,
    identity: TlsIdentity,
    transport: Arc<TransportConfig>,
}

impl Endpoints {
    /// Opens the listening socket.
    pub(crate) fn bind(config: &BindConfig, keys: &NodeKeys) -> Result<Self, BindError> {
        tokio::runtime::Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let identity = TlsIdentity::new(keys, config.work_bits).map_err(|error| match error {
            TlsIdentityError::Certificate(error) => BindError::Certificate(error),
            TlsIdentityError::Tls(error) => BindError::Tls(error),
        })?;
        let transport = Arc::new(transport_config(config.pool.idle_timeout + IDLE_GRACE));
        let crypto = QuicServerConfig::try_from(identity.server_config().map_err(BindError::Tls)?)
            .expect("the provider has the suite that every QUIC handshake begins with");
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(transport.clone())
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
        let refused = |source| BindError::Socket { address: config.listen, source };
        let (socket, dual) =
            open_socket(config.listen, config.socket_buffer_bytes).map_err(refused)?;
        let endpoint_config = endpoint_config(keys);
        let main = start(socket, endpoint_config.clone(), Some(server)).map_err(refused)?;
        Ok(Self {
            main,
            other: OnceLock::new(),
            takes_ipv4: config.listen.is_ipv4() || dual,
            takes_ipv6: config.listen.is_ipv6(),
            config: endpoint_config,
            buffer_bytes: config.socket_buffer_bytes,
            identity,
            transport,
        })
    }

    /// The identity with which dials are made.
    pub(crate) fn identity(&self) -> &TlsIdentity {
        &self.identity
    }

    /// Starts a handshake. `Err` is a message for people that says why it cannot start.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        expectation: Arc<Expectation>,
    ) -> Result<quinn::Connecting, String> {
        let fits = if address.is_ipv4() { self.takes_ipv4 } else { self.takes_ipv6 };
        let endpoint = if fits {
            &self.main
        } else {
            let open = || self.open_other(address.is_ipv4());
            self.other.get_or_init(open).as_ref().map_err(ToString::to_string)?
        };
        let crypto = self.identity.client_config(expectation).map_err(|e| e.to_string())?;
        let crypto = QuicClientConfig::try_from(crypto).map_err(|e| e.to_string())?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        config.token_store(Arc::new(quinn::NoneTokenStore));
        endpoint.connect_with(config, address, crate::tls::SERVER_NAME).map_err(|e| e.to_string())
    }

    /// Closes every connection, notifies the peers, and waits briefly for the notification to be
    /// sent.
    pub(crate) async fn close(&self, code: VarInt, reason: &[u8], patience: Duration) {
        let other = self.other.get().and_then(|other| other.as_ref().ok());
        for endpoint in std::iter::once(&self.main).chain(other) {
            endpoint.close(code, reason);
        }
        let all_idle = async {
            self.main.wait_idle().await;
            if let Some(other) = other {
                other.wait_idle().await;
            }
        };
        let _ = tokio::time::timeout(patience, all_idle).await;
    }

    fn open_other(&self, ipv4: bool) -> io::Result<Endpoint> {
        let any = if ipv4 {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let (socket, _) = open_socket(any, self.buffer_bytes)?;
        start(socket, self.config.clone(), None)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("main", &self.main).finish_non_exhaustive()
    }
}

/// Opens a UDP socket; also returns whether it is an IPv6 socket that takes IPv4 as well.
fn open_socket(address: SocketAddr, buffer_bytes: usize) -> io::Result<(Socket, bool)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let wants_both = address.is_ipv6() && address.ip().is_unspecified();
    let mut dual = false;
    if address.is_ipv6() {
        dual = wants_both && socket.set_only_v6(false).is_ok();
        if !dual {
            socket.set_only_v6(true)?;
        }
    }
    for granted in
        [socket.set_send_buffer_size(buffer_bytes), socket.set_recv_buffer_size(buffer_bytes)]
    {
        if let Err(error) = granted {
            tracing::debug!(%error, buffer_bytes, "the socket keeps the system's buffers");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok((socket, dual))
}

fn start(
    socket: Socket,
    config: EndpointConfig,
    server: Option<quinn::ServerConfig>,
) -> io::Result<Endpoint> {
    Endpoint::new(config, server, socket.into(), Arc::new(quinn::TokioRuntime))
}

fn transport_config(idle_timeout: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    // Unused connections time out: there is no keep-alive.
    config
        .max_idle_timeout(Some(
            IdleTimeout::try_from(idle_timeout)
                .unwrap_or_else(|_| IdleTimeout::from(VarInt::from_u32(u32::MAX))),
        ))
        .keep_alive_interval(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .stream_receive_window(VarInt::from_u32(window::STREAM))
        .receive_window(VarInt::from_u32(window::NARROW))
        .send_window(window::SEND);
    config
}

/// Reset tokens are derived from the node's key, so that a restarted node can tell its peers at
/// once that the old connections are gone. With random ones, their requests would run into a
/// timeout.
fn endpoint_config(keys: &NodeKeys) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey::derive(keys)));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Random connection ids. quinn's own ones are tied to one run of the program, and packets from
/// before a restart would be dropped silently instead of being answered with a reset.
#[derive(Debug)]
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        getrandom::fill(&mut id).expect("a system that gave keys their randomness still has some");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Derives the reset tokens: the first bytes of BLAKE3(key ‖ data), which cannot be computed
/// without the key.
struct ResetKey(Zeroizing<[u8; 32]>);

impl ResetKey {
    fn derive(keys: &NodeKeys) -> Self {
        let mut input = Zeroizing::new(b"tesseras/1 stateless reset\0".to_vec());
        input.extend_from_slice(&*keys.seed());
        Self(Zeroizing::new(*tesseras_crypto::blake3(&input).as_bytes()))
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mut input = Zeroizing::new(self.0.to_vec());
        input.extend_from_slice(data);
        let hash = tesseras_crypto::blake3(&input);
        signature_out.copy_from_slice(&hash.as_bytes()[..self.signature_len()]);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; 32];
        self.sign(data, &mut expected);
        let differs = signature.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        if signature.len() == expected.len() && differs == 0 { Ok(()) } else { Err(CryptoError) }
    }
}
