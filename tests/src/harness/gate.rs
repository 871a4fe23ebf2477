//! A connection with a gate: what goes through it stops after so many bytes, until the test lets it go on. With it a test
//! stands in the middle of a transfer, however fast the machine is.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Before a server. Each connection to it becomes one to the server.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    to_server: Arc<Allowance>,
    to_client: Arc<Allowance>,
}

/// Bytes that may still pass in one direction, of all connections together.
#[derive(Debug)]
struct Allowance {
    left: Mutex<u64>,
    more: Condvar,
}

impl Gate {
    /// A gate before the server at `address`, which lets so many bytes through to the server, and back to the client.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn before(address: SocketAddr, to_server: u64, to_client: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let gate = Self {
            address: listener.local_addr().expect("it listens"),
            to_server: Allowance::new(to_server),
            to_client: Allowance::new(to_client),
        };
        let (up, down) = (Arc::clone(&gate.to_server), Arc::clone(&gate.to_client));
        // Ends with the process of the test.
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // A server that is not there is a connection that is lost.
                if let Ok(server) = TcpStream::connect(address) {
                    join(client, server, &up, &down);
                }
            }
        });
        gate
    }

    /// `http://ADDRESS` of the gate.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.to_server.add(u64::MAX);
        self.to_client.add(u64::MAX);
    }
}

fn join(client: TcpStream, server: TcpStream, up: &Arc<Allowance>, down: &Arc<Allowance>) {
    let (from_client, to_server) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    let (up, down) = (Arc::clone(up), Arc::clone(down));
    thread::spawn(move || pass(from_client, to_server, &up));
    thread::spawn(move || pass(server, client, &down));
}

/// Passes bytes on until one side has gone.
fn pass(mut from: TcpStream, mut to: TcpStream, allowance: &Allowance) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(got @ 1..) = from.read(&mut piece) {
        allowance.take(got as u64);
        if to.write_all(&piece[..got]).is_err() {
            break;
        }
    }
    // Either may have gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Allowance {
    fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(bytes), more: Condvar::new() })
    }

    fn left(&self) -> MutexGuard<'_, u64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many may pass.
    fn take(&self, bytes: u64) {
        let waited = self.more.wait_while(self.left(), |left| *left < bytes);
        *waited.unwrap_or_else(PoisonError::into_inner) -= bytes;
    }

    fn add(&self, bytes: u64) {
        let mut left = self.left();
        *left = left.saturating_add(bytes);
        self.more.notify_all();
    }
}
