//! Where connections come in, and what each may do before and beside its calls: how many there may be, how long they may
//! take to speak, how slowly a frame may come, how long they may do nothing, and how much they may send that is no call.
//! The HTTP/2 library bounds resets, headers and empty data by itself; pings, settings, priorities, and connections that
//! never speak it does not.

mod connection;
mod frames;
mod meter;
mod places;
mod socket;

use connection::Connection;
use futures_util::stream::{self, Stream};
use places::Places;
use socket::{LINGER, Socket};
use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{self, Instant},
};

use crate::{
    config::Limits,
    telemetry::{ConnectionLimit, Doors},
};

/// How long the listener rests after it could not accept, for want of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// At most one line in so long tells of connections that were refused or cut.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The connections of a listener, for ever. Those beyond a limit are closed before anything is read from them.
pub fn tcp(
    listener: TcpListener,
    limits: &Limits,
    doors: Doors,
) -> impl Stream<Item = Result<Connection, Infallible>> + use<> {
    let door = Door {
        listener,
        places: Places::new(limits.connections, limits.connections_per_address),
        bounds: Bounds {
            handshake: limits.handshake,
            frame: limits.frame,
            idle: limits.connection_idle,
            control_frames_per_second: limits.control_frames_per_second,
            linger: LINGER,
        },
        complaints: Arc::new(Complaints { doors, state: Mutex::default() }),
    };
    stream::unfold(door, |door| async move {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

/// What holds for each connection.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    handshake: Duration,
    frame: Duration,
    idle: Duration,
    control_frames_per_second: u32,
    linger: Duration,
}

struct Door {
    listener: TcpListener,
    places: Arc<Places>,
    bounds: Bounds,
    complaints: Arc<Complaints>,
}

impl Door {
    async fn next(&self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((tcp, peer)) => match self.admit(tcp, peer) {
                    Some(connection) => return connection,
                    None => continue,
                },
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.complaints.tell(format_args!("cannot accept connections: {error}"));
                    time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn admit(&self, tcp: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let place = match self.places.take(canonical(peer.ip())) {
            Ok(place) => place,
            Err((limit, most)) => {
                let name = limit.name();
                self.complaints.refuse(limit);
                self.complaints.tell(format_args!("connection from {peer} closed at once: {name} = {most} are open"));
                return None;
            }
        };
        // One that has gone already ends at its first read.
        let _ = tcp.set_nodelay(true);
        let socket = Socket::new(tcp, place, self.bounds.linger);
        Some(Connection::new(socket, peer, self.bounds, Arc::clone(&self.complaints)))
    }
}

/// An IPv4 address is the same whichever kind of socket took it.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether the error is about a connection that went before it was accepted, and not about us.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::TimedOut)
}

/// Counts what was refused, and tells of it without letting anybody fill the log.
#[derive(Debug, Default)]
struct Complaints {
    doors: Doors,
    /// When something was told last, and how much was not since then.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Complaints {
    fn refuse(&self, limit: ConnectionLimit) {
        self.doors.refuse(limit);
    }

    fn tell(&self, what: fmt::Arguments<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, untold) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            *untold += 1;
            return;
        }
        *last = Some(Instant::now());
        let untold = std::mem::take(untold);
        drop(state);
        tracing::warn!(untold, "{what}");
    }
}

#[cfg(test)]
mod tests;
