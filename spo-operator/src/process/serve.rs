//! Serving HTTP/1.1, with or without TLS, with limits on what a client chooses.
//!
//! Every pod of a cluster may connect, so a client that says nothing must not take a place from one that does:
//!
//! * a handshake, the head of the first request and every pause in taking an answer have deadlines;
//! * when every place is taken, the newcomer gets one of the address that has the most: its longest silent connection
//!   that waits for no answer, else its longest silent one. An address that has more than all others has only itself
//!   to crowd out.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a client can demand of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; one more takes the place of another.
    pub connections: usize,
    /// The time of a TLS handshake.
    pub handshake: Duration,
    /// The time until the head of the first request is there.
    pub head: Duration,
    /// The time a connection may be silent between two requests, or in the head of a later one.
    pub idle: Duration,
    /// The time in which some of an answer has to be taken.
    pub write: Duration,
    /// How long new connections are still served once the end has come: those who send them hear of it later.
    pub farewell: Duration,
    /// How long open requests are waited for at the end.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            // Longer than the 90 seconds after which an API server closes an idle connection itself.
            idle: Duration::from_secs(120),
            write: Duration::from_secs(10),
            farewell: Duration::ZERO,
            shutdown: Duration::from_secs(10),
        }
    }
}

/// Serves until it is told to stop; then for as long as the farewell lasts, answers what was asked and returns. Without
/// TLS where there is none.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let places = Places { start: Instant::now(), taken: Arc::default() };
    let tracker = TaskTracker::new();
    // Ends connections: later than `stop`, by the farewell.
    let over = CancellationToken::new();
    let mut farewell = pin!(async {
        stop.cancelled().await;
        sleep(limits.farewell).await;
    });
    let mut number = 0_u64;
    loop {
        let (socket, address) = tokio::select! {
            () = &mut farewell => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, address)) => (socket, address.ip().to_canonical()),
                Err(error) => {
                    // Out of file descriptors, or a client that has gone; neither ends the server.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        number += 1;
        let Some(place) = places.take(number, address, limits.connections) else { continue };
        let (tls, router, stop, over) = (tls.clone(), router.clone(), stop.clone(), over.clone());
        tracker.spawn(async move {
            let client = Arc::clone(&place.client);
            let work = async {
                match tls {
                    None => connection(socket, &place, router, limits, &stop, &over).await,
                    Some(tls) => match timeout(limits.handshake, tls.accept(socket)).await {
                        Ok(Ok(socket)) => connection(socket, &place, router, limits, &stop, &over).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                        Err(_) => tracing::debug!("a handshake took too long"),
                    },
                }
            };
            if client.end.run_until_cancelled(work).await.is_none() {
                tracing::debug!(%address, "a connection made way for another");
            }
        });
    }
    drop(listener);
    over.cancel();
    tracker.close();
    let _ = timeout(limits.shutdown, tracker.wait()).await;
}

async fn connection<S>(
    socket: S,
    place: &Place,
    router: Router,
    limits: Limits,
    stop: &CancellationToken,
    over: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = &place.client;
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = hyper::service::Service::call(&inner, request);
        let (client, stop) = (Arc::clone(client), stop.clone());
        client.asks();
        async move {
            let mut answer: Result<Response<Body>, Infallible> = answer.await;
            client.is_answered();
            if let (Ok(answer), true) = (&mut answer, stop.is_cancelled()) {
                // A client that would keep the connection asks another server from now on.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    });
    let io = Watched { socket, clock: place.clock(), limit: limits.write, stalled: None };
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut first = pin!(sleep(limits.head));
    let mut waits_for_first = true;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = first.as_mut(), if waits_for_first => {
                waits_for_first = false;
                if !client.has_asked.load(Relaxed) {
                    tracing::debug!("a connection asked nothing");
                    return;
                }
            }
            () = over.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The connections that there are.
struct Places {
    start: Instant,
    taken: Arc<Mutex<BTreeMap<u64, Arc<Client>>>>,
}

/// One connection, as others see it.
struct Client {
    address: IpAddr,
    /// When a byte went either way last, in milliseconds.
    moved: AtomicU64,
    has_asked: AtomicBool,
    waits: AtomicBool,
    end: CancellationToken,
}

impl Client {
    fn asks(&self) {
        self.has_asked.store(true, Relaxed);
        self.waits.store(true, Relaxed);
    }

    fn is_answered(&self) {
        self.waits.store(false, Relaxed);
    }
}

impl Places {
    /// A place for a connection, if need be that of another; `None` if nobody has less right to one than it.
    fn take(&self, number: u64, address: IpAddr, most: usize) -> Option<Place> {
        let mut taken = lock(&self.taken);
        if taken.len() >= most {
            let left = worst(&taken, address)?;
            if let Some(client) = taken.remove(&left) {
                client.end.cancel();
            }
        }
        let client = Arc::new(Client {
            address,
            moved: AtomicU64::new(millis(self.start)),
            has_asked: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            end: CancellationToken::new(),
        });
        taken.insert(number, Arc::clone(&client));
        Some(Place { number, client, start: self.start, taken: Arc::clone(&self.taken) })
    }
}

/// The connection that makes way for one from an address; `None` if every one of the address with the most waits for an
/// answer and it is the newcomer's own.
fn worst(taken: &BTreeMap<u64, Arc<Client>>, newcomer: IpAddr) -> Option<u64> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::from([(newcomer, 1)]);
    for client in taken.values() {
        *counts.entry(client.address).or_default() += 1;
    }
    // Of addresses with as many, one that asked for no more comes first.
    let (most, _) = counts.into_iter().max_by_key(|(address, count)| (*count, *address != newcomer))?;
    let of_most = taken.iter().filter(|(_, client)| client.address == most);
    let (number, client) =
        of_most.min_by_key(|(_, client)| (client.waits.load(Relaxed), client.moved.load(Relaxed)))?;
    (most != newcomer || !client.waits.load(Relaxed)).then_some(*number)
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place that is given back when the connection ends.
struct Place {
    number: u64,
    client: Arc<Client>,
    start: Instant,
    taken: Arc<Mutex<BTreeMap<u64, Arc<Client>>>>,
}

impl Place {
    fn clock(&self) -> Clock {
        Clock { client: Arc::clone(&self.client), start: self.start }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).remove(&self.number);
    }
}

/// Takes note of when something moved.
struct Clock {
    client: Arc<Client>,
    start: Instant,
}

impl Clock {
    fn moved(&self) {
        self.client.moved.store(millis(self.start), Relaxed);
    }
}

/// A socket whose client has to take what is written to it.
struct Watched<S> {
    socket: S,
    clock: Clock,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Watched<S> {
    /// What came of writing: an error once nothing moved for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            self.clock.moved();
            return result;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if result.is_ready() {
            self.clock.moved();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        self.written(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.written(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::routing::get;
    use tokio::net::TcpStream;

    use super::*;

    fn places() -> Places {
        Places { start: Instant::now(), taken: Arc::default() }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn whoever_has_the_most_makes_way() {
        let places = places();
        let held: Vec<Place> = (0..7).map(|n| places.take(n, address(9), 8).expect("a place")).collect();
        let honest = places.take(7, address(1), 8).expect("a place");
        held[0].client.asks();
        for (number, place) in (1_u64..).zip(&held) {
            place.client.moved.store(number, Relaxed);
        }
        honest.client.moved.store(0, Relaxed);
        // The longest silent of the address with the most, but not one that waits for an answer.
        let _next = places.take(8, address(2), 8).expect("a place");
        assert!(held[1].client.end.is_cancelled());
        assert!(!held[0].client.end.is_cancelled() && !honest.client.end.is_cancelled());
        // When all of them wait, one does all the same; but no newcomer of the same address gets it.
        held.iter().for_each(|place| place.client.asks());
        assert!(places.take(9, address(9), 8).is_none());
        let _next = places.take(10, address(1), 8).expect("a place");
        assert!(held[0].client.end.is_cancelled() && !honest.client.end.is_cancelled());
        assert_eq!(lock(&places.taken).len(), 8);
    }

    #[test]
    fn a_place_is_given_back() {
        let places = places();
        drop(places.take(0, address(1), 1).expect("a place"));
        assert!(lock(&places.taken).is_empty());
    }

    /// Answers and their number.
    async fn server(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
        let asked = Arc::new(AtomicUsize::new(0));
        let router = Router::new()
            .route("/", get(move || async move { asked.fetch_add(1, Relaxed).to_string() }))
            .route("/large", get(|| async { "x".repeat(64 << 20) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, None, router, limits, stop.clone()));
        (address, stop)
    }

    async fn ask(socket: &mut TcpStream, path: &str) -> io::Result<()> {
        socket.writable().await?;
        socket.try_write(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).map(drop)
    }

    /// What arrives next; nothing means that the server closed.
    async fn read(socket: &mut TcpStream) -> String {
        loop {
            let mut bytes = [0; 1024];
            socket.readable().await.expect("readable");
            match socket.try_read(&mut bytes) {
                Ok(count) => return String::from_utf8_lossy(&bytes[..count]).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return String::new(),
            }
        }
    }

    #[tokio::test]
    async fn who_asks_nothing_is_put_out() {
        let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
        let (address, _stop) = server(limits).await;
        let mut silent = TcpStream::connect(address).await.expect("connects");
        let mut asking = TcpStream::connect(address).await.expect("connects");
        ask(&mut asking, "/").await.expect("writes");
        assert!(read(&mut asking).await.starts_with("HTTP/1.1 200"));
        assert_eq!(read(&mut silent).await, "", "closed");
        // Whoever has asked may stay.
        ask(&mut asking, "/").await.expect("writes");
        assert!(read(&mut asking).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn many_who_say_nothing_keep_nobody_out() {
        let limits = Limits { connections: 64, ..Limits::default() };
        let (address, _stop) = server(limits).await;
        let mut silent = Vec::new();
        for _ in 0..640 {
            silent.push(TcpStream::connect(address).await.expect("connects"));
        }
        let mut honest = TcpStream::connect(address).await.expect("connects");
        ask(&mut honest, "/").await.expect("writes");
        assert!(read(&mut honest).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_takes_no_answer_is_put_out() {
        let limits = Limits { write: Duration::from_millis(50), ..Limits::default() };
        let (address, _stop) = server(limits).await;
        let mut socket = TcpStream::connect(address).await.expect("connects");
        ask(&mut socket, "/large").await.expect("writes");
        sleep(Duration::from_millis(500)).await;
        // What was underway arrives, and then the end, long before the whole answer.
        let mut taken = 0;
        loop {
            let text = read(&mut socket).await;
            if text.is_empty() {
                break;
            }
            taken += text.len();
        }
        assert!(taken < 64 << 20, "{taken}");
    }

    #[tokio::test]
    async fn new_connections_are_served_through_the_farewell() {
        let limits = Limits { farewell: Duration::from_millis(400), ..Limits::default() };
        let (address, stop) = server(limits).await;
        stop.cancel();
        let mut late = TcpStream::connect(address).await.expect("connects");
        ask(&mut late, "/").await.expect("writes");
        let answer = read(&mut late).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
