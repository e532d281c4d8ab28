//! A relay in front of a node that can hold back answers, like a lossy network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio_util::task::TaskTracker;

/// Forwards datagrams between one client and a node, and drops the node's while told to.
pub struct Relay {
    pub address: SocketAddr,
    loses: Arc<AtomicBool>,
}

impl Relay {
    pub async fn to(node: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.9.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.9.2:0").await.unwrap();
        let relay = Self { address: front.local_addr().unwrap(), loses: Arc::default() };
        let loses = relay.loses.clone();
        TaskTracker::new().spawn(async move {
            let (mut there, mut here) = ([0; 2048], [0; 2048]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        back.send_to(&there[..length], node).await.unwrap();
                    }
                    Ok(length) = back.recv(&mut here) => {
                        let Some(client) = client else { continue };
                        if !loses.load(Ordering::SeqCst) {
                            front.send_to(&here[..length], client).await.unwrap();
                        }
                    }
                }
            }
        });
        relay
    }

    /// Whether the node's packets are dropped from now on.
    pub fn lose(&self, loses: bool) {
        self.loses.store(loses, Ordering::SeqCst);
    }
}
