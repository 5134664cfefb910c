//! What the engines of the shards cost: to wake another thread, to receive and to send.

use criterion::{BenchmarkId, Criterion, Throughput};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use zkfast::config::Engine;
use zkfast::server::rt::{self, Backend, Listener, Stream};
use zkfast::server::spsc::{self, Notify};

/// Bytes of a request, and of the reply.
const BYTES: usize = 100;

/// Connections, and requests that each sends at once.
const LOADS: [(usize, usize); 3] = [(1, 1), (32, 1), (64, 16)];

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reactor");
    for backend in backends() {
        group.throughput(Throughput::Elements(1));
        let id = BenchmarkId::new("wake_up", format!("{backend:?}"));
        group.bench_function(id, |b| b.iter_custom(|iters| wake_up(backend, iters)));
        for (connections, in_flight) in LOADS {
            group.throughput(Throughput::Elements((connections * in_flight) as u64));
            let id = BenchmarkId::new(format!("echo/{connections}x{in_flight}"), format!("{backend:?}"));
            let run = |iters| echo(backend, connections, in_flight * BYTES, iters);
            group.bench_function(id, |b| b.iter_custom(run));
        }
    }
}

/// Those that this kernel has.
fn backends() -> Vec<Backend> {
    let chosen = [Engine::Epoll, Engine::Uring].map(|engine| rt::choose(Some(engine), 1));
    chosen.into_iter().flatten().map(|choice| choice.backend).collect()
}

/// Sends a message to another shard and back, `iters` times.
fn wake_up(backend: Backend, iters: u64) -> Duration {
    let (notify, other_notify) = (Notify::default(), Notify::default());
    let (mut there, mut from_here) = spsc::channel::<u64>(1, other_notify.clone(), Notify::default());
    let (mut back, mut from_there) = spsc::channel::<u64>(1, notify.clone(), Notify::default());
    let echo = move || async move {
        for _ in 0..iters {
            let message = next(&mut from_here, &other_notify).await;
            assert!(back.put(message).is_ok(), "one message is under way");
        }
    };
    let (sender, elapsed) = channel();
    let ask = move || async move {
        let started = Instant::now();
        for number in 0..iters {
            assert!(there.put(number).is_ok(), "one message is under way");
            assert_eq!(next(&mut from_there, &notify).await, number);
        }
        sender.send(started.elapsed()).unwrap();
    };
    let shards = [rt::spawn(backend, None, "echo", echo), rt::spawn(backend, None, "ask", ask)];
    shards.into_iter().for_each(|shard| shard.unwrap().join().unwrap());
    elapsed.recv().unwrap()
}

async fn next(consumer: &mut spsc::Consumer<u64>, notify: &Notify) -> u64 {
    poll_fn(|cx| {
        notify.register(cx.waker());
        consumer.take().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Sends `bytes` on each connection and reads as many back, `iters` times.
fn echo(backend: Backend, connections: usize, bytes: usize, iters: u64) -> Duration {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let shard = rt::spawn(backend, None, "echo", move || serve(listener, connections)).unwrap();
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        client
    };
    let mut clients: Vec<TcpStream> = (0..connections).map(|_| connect()).collect();
    let (request, mut reply) = (vec![7; bytes], vec![0; bytes]);
    let started = Instant::now();
    for _ in 0..iters {
        clients.iter_mut().for_each(|client| client.write_all(&request).unwrap());
        clients.iter_mut().for_each(|client| client.read_exact(&mut reply).unwrap());
    }
    let elapsed = started.elapsed();
    drop(clients);
    shard.join().unwrap();
    elapsed
}

/// Answers `connections` clients until each has gone.
async fn serve(listener: TcpListener, connections: usize) {
    let listener = Listener::adopt(listener).unwrap();
    let end = Rc::new(RefCell::new((connections, None::<Waker>)));
    for _ in 0..connections {
        let (stream, _) = listener.accept().await.unwrap().adopt().unwrap();
        let end = end.clone();
        rt::spawn_local(async move {
            answer(stream).await;
            let (left, waiting) = &mut *end.borrow_mut();
            *left -= 1;
            waiting.take().into_iter().for_each(Waker::wake);
        });
    }
    poll_fn(|cx| {
        let (left, waiting) = &mut *end.borrow_mut();
        *waiting = Some(cx.waker().clone());
        if *left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn answer(mut stream: Stream) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let mut sent = 0;
        while sent < read {
            sent += poll_fn(|cx| stream.poll_write(cx, &buffer[sent..read])).await.unwrap();
        }
    }
}
