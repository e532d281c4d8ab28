//! The bare parts of what nodes do together: the same bytes over QUIC into files that are synced,
//! without a hash, a code, a store or a question asked. Once over our own transport, with as many
//! transfers at once as a node makes, and once over quinn as it comes, all at once.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::PrivatePkcs8KeyDer;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig,
};
use socket2::{Domain, Socket, Type};
use tesseras_crypto::NodeKeys;
use tesseras_net::{BindConfig, QuinnTransport, RateLimit};
use tesseras_replication::bulk::CHUNK;
use tesseras_replication::config::DEFAULT_MAX_TRANSFERS;
use tesseras_wire::{Body, Peer, Request, Response, Service, Target, Transport as _};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::Result;

const DEADLINE: Duration = Duration::from_secs(60);
/// Enough that nothing is lost on loopback, where the system grants it.
const SOCKET_BUFFER: usize = 8 << 20;
const WINDOW: u32 = 8 << 20;
/// A connection must not die while the other sides run.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// From the centre to the others.
pub const PUSH: u8 = 0;
/// From the others to the centre.
pub const PULL: u8 = 1;

/// So many bytes from memory.
fn body(bytes: u64) -> Body {
    let chunk = Bytes::from(vec![42; CHUNK]);
    let mut left = bytes;
    Box::pin(stream::iter(std::iter::from_fn(move || {
        let next = chunk.slice(..left.min(CHUNK as u64) as usize);
        left -= next.len() as u64;
        (!next.is_empty()).then_some(Ok(next))
    })))
}

async fn keep(mut body: Body, path: PathBuf) -> Result<()> {
    let mut file = File::create(path)?;
    while let Some(chunk) = body.next().await {
        file.write_all(&chunk?)?;
    }
    Ok(tokio::task::spawn_blocking(move || file.sync_all()).await??)
}

/// What is asked: which way, which piece, how long.
fn order(way: u8, piece: usize, bytes: u64) -> [u8; 17] {
    let mut frame = [way; 17];
    frame[1..9].copy_from_slice(&(piece as u64).to_be_bytes());
    frame[9..].copy_from_slice(&bytes.to_be_bytes());
    frame
}

fn obeyed(frame: &[u8]) -> Result<(u8, u64, u64)> {
    let frame: &[u8; 17] = frame.try_into()?;
    let number = |at: usize| frame[at..at + 8].try_into().map(u64::from_be_bytes);
    Ok((frame[0], number(1)?, number(9)?))
}

/// The transport of `tesseras-net`.
pub struct OwnTransport {
    transports: Vec<Arc<QuinnTransport>>,
    targets: Vec<Target>,
    files: PathBuf,
    cancel: CancellationToken,
}

struct Keeper(PathBuf);

impl Service for Keeper {
    fn serve(&self, _: Peer, frame: Vec<u8>, sent: Body) -> tesseras_wire::BoxFuture<'_, Response> {
        Box::pin(async move {
            let done = match obeyed(&frame) {
                Ok((PULL, _, bytes)) => return Response { frame, body: Some(body(bytes)) },
                Ok((_, piece, _)) => keep(sent, self.0.join(piece.to_string())).await,
                Err(error) => Err(error),
            };
            let answer = done.err().map(|error| error.to_string()).unwrap_or_default();
            Response { frame: answer.into_bytes(), body: None }
        })
    }
}

impl OwnTransport {
    /// Binds all, and lets the centre meet the others.
    pub async fn start(nodes: u8, files: &Path) -> Result<Self> {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (mut transports, mut targets) = (Vec::new(), Vec::new());
        for number in 0..=nodes {
            let keys = NodeKeys::generate(0)?;
            let listen = SocketAddr::from((Ipv4Addr::new(127, 1, number, 1), 0));
            let rate_limit = RateLimit { requests_per_second: 10_000, burst: 10_000 };
            let config = BindConfig { work_bits: 0, rate_limit, ..BindConfig::new(listen) };
            let transport = QuinnTransport::bind(config, &keys, &tracker, cancel.clone())?;
            let service = Arc::new(Keeper(files.to_owned()));
            tracker.spawn(transport.clone().serve(service));
            targets.push(Target { id: Some(keys.id()), addresses: vec![transport.local_addr()] });
            transports.push(transport);
        }
        targets.remove(0);
        let own = Self { transports, targets, files: files.to_owned(), cancel };
        own.all(PULL, nodes.into(), 1).await?;
        Ok(own)
    }

    async fn one(&self, way: u8, piece: usize, bytes: u64) -> Result<()> {
        let target = &self.targets[piece % self.targets.len()];
        let sent = (way == PUSH).then(|| body(bytes));
        let frame = order(way, piece, bytes).to_vec();
        let request = Request { body: sent, ..Request::short(frame, DEADLINE) };
        let reply = self.transports[0].request(target, request).await?;
        match way {
            PULL => keep(reply.body, self.files.join(piece.to_string())).await,
            _ if reply.frame.is_empty() => Ok(()),
            _ => Err(String::from_utf8_lossy(&reply.frame).into()),
        }
    }

    /// Moves pieces of so many bytes.
    pub async fn all(&self, way: u8, pieces: usize, bytes: u64) -> Result<()> {
        stream::iter((0..pieces).map(|piece| self.one(way, piece, bytes)))
            .buffer_unordered(DEFAULT_MAX_TRANSFERS)
            .try_collect()
            .await
    }

    /// Closes all.
    pub async fn stop(self) {
        self.cancel.cancel();
        futures_util::future::join_all(self.transports.iter().map(|t| t.close())).await;
    }
}

/// Who quinn's side says that it is.
pub const NAME: &str = "bench";

/// quinn's own settings, but for the windows. The same suites as our own transport's.
pub fn plain_configs() -> Result<(ServerConfig, ClientConfig)> {
    let own = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone())?;
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let mut server = ServerConfig::with_single_cert(vec![own.cert.der().clone()], key.into())?;
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(WINDOW.into())
        .send_window(2 * u64::from(WINDOW));
    let transport = Arc::new(transport);
    server.transport_config(transport.clone());
    client.transport_config(transport);
    Ok((server, client))
}

/// A socket for quinn, at any port of an address.
pub fn plain_endpoint(address: Ipv4Addr, server: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = socket((address, 0).into())?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

/// quinn with windows and buffers as wide as a machine alone with itself may have.
pub struct PlainQuinn {
    endpoints: Vec<Endpoint>,
    connections: Vec<Connection>,
    files: PathBuf,
}

fn socket(address: SocketAddr) -> Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    let _ =
        (socket.set_send_buffer_size(SOCKET_BUFFER), socket.set_recv_buffer_size(SOCKET_BUFFER));
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl PlainQuinn {
    /// Binds all, and connects the centre to the others.
    pub async fn start(nodes: u8, files: &Path) -> Result<Self> {
        let (server, client) = plain_configs()?;
        let bind = |number, server| plain_endpoint(Ipv4Addr::new(127, 2, number, 1), server);
        let centre = bind(0, None)?;
        let tracker = TaskTracker::new();
        let (mut endpoints, mut connections) = (Vec::new(), Vec::new());
        for number in 1..=nodes {
            let endpoint = bind(number, Some(server.clone()))?;
            tracker.spawn(serve(endpoint.clone(), tracker.clone(), files.to_owned()));
            let address = endpoint.local_addr()?;
            connections.push(centre.connect_with(client.clone(), address, NAME)?.await?);
            endpoints.push(endpoint);
        }
        endpoints.push(centre);
        Ok(Self { endpoints, connections, files: files.to_owned() })
    }

    async fn one(&self, way: u8, piece: usize, bytes: u64) -> Result<()> {
        let connection = &self.connections[piece % self.connections.len()];
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&order(way, piece, bytes)).await?;
        if way == PUSH {
            write(&mut send, bytes).await?;
        }
        send.finish()?;
        match way {
            PULL => keep(received(receive), self.files.join(piece.to_string())).await,
            // The end of an empty answer says that the piece is kept.
            _ => Ok(receive.read_to_end(0).await.map(drop)?),
        }
    }

    /// Moves pieces of so many bytes.
    pub async fn all(&self, way: u8, pieces: usize, bytes: u64) -> Result<()> {
        try_join_all((0..pieces).map(|piece| self.one(way, piece, bytes))).await.map(drop)
    }

    /// Closes all.
    pub async fn stop(self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.close(0u8.into(), b""));
    }
}

async fn serve(endpoint: Endpoint, tracker: TaskTracker, files: PathBuf) -> Result<()> {
    let connection = endpoint.accept().await.ok_or("closed")?.await?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        let files = files.clone();
        tracker.spawn(async move {
            let mut frame = [0; 17];
            receive.read_exact(&mut frame).await?;
            match obeyed(&frame)? {
                (PULL, _, bytes) => write(&mut send, bytes).await?,
                (_, piece, _) => keep(received(receive), files.join(piece.to_string())).await?,
            }
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(send.finish()?)
        });
    }
}

async fn write(send: &mut quinn::SendStream, bytes: u64) -> Result<()> {
    let mut body = body(bytes);
    while let Some(chunk) = body.next().await {
        send.write_chunk(chunk?).await?;
    }
    Ok(())
}

/// What comes, as a body; gathered, since quinn has a packet at a time, and a write to a file for
/// each would be a handicap.
fn received(receive: quinn::RecvStream) -> Body {
    let gather = async |(mut receive, mut room): (quinn::RecvStream, BytesMut)| {
        if room.capacity() < CHUNK / 4 {
            room.reserve(CHUNK);
        }
        let read = receive.read_buf(&mut room).await?;
        Ok((read > 0).then(|| (room.split().freeze(), (receive, room))))
    };
    Box::pin(stream::try_unfold((receive, BytesMut::new()), gather))
}
