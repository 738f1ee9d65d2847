//! Connections that can be cut: what stands between processes and a server on this machine.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::api_server::free_port;

/// Passes connections on to a port of this machine; ends with the process.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// One that lets connections to `target` through.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(target: u16) -> io::Result<Self> {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let state = Arc::new(State::default());
        let of_thread = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Who cannot be served is hung up on, as by a server that is away.
                let _ = of_thread.pass(client, target);
            }
        });
        Ok(Self { port, state })
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and lets no other through.
    pub fn cut(&self) {
        self.state.closed.store(true, Ordering::SeqCst);
        self.state.end_all();
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn pass(&self, client: TcpStream, target: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", target))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: a cut that comes now ends this connection too.
        if self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        open.extend([client, server]);
        Ok(())
    }

    fn end_all(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
