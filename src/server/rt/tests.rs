//! What shards may rely on, on either engine.

use super::*;
use crate::server::spsc::{self, Notify};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// What the engines run on here.
fn backends() -> [Backend; 2] {
    [Engine::Epoll, Engine::Uring].map(|engine| choose(Some(engine), 1).expect("both engines").backend)
}

/// Runs a shard's main on each backend to its end, and gives what each has sent.
fn on_each<T, F>(main: impl Fn(Sender<T>) -> F + Clone + Send + 'static) -> Vec<Receiver<T>>
where
    T: Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let run = |backend| {
        let (sender, receiver) = channel();
        let main = main.clone();
        spawn(backend, Some(0), "test", move || main(sender)).expect("a shard").join().expect("its end");
        receiver
    };
    backends().map(run).into()
}

/// Timers fire in the order of their deadlines, not earlier.
#[test]
fn timers() {
    const TIMERS: [u64; 3] = [30, 10, 20];
    let fired = on_each(|sender| async move {
        let left = Rc::new(std::cell::Cell::new(TIMERS.len()));
        for ms in TIMERS {
            let (sender, left) = (sender.clone(), left.clone());
            spawn_local(async move {
                let (duration, before) = (Duration::from_millis(ms), Instant::now());
                let mut timer = std::pin::pin!(sleep(duration));
                // Its deadline lies between the two, however long the machine keeps this thread in between.
                let is_over = poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx).is_ready())).await;
                let due = (before + duration, Instant::now() + duration);
                if !is_over {
                    timer.await;
                }
                sender.send((due, Instant::now())).expect("the test waits for it");
                left.set(left.get() - 1);
            });
        }
        while left.get() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    });
    for fired in fired {
        let fired: Vec<_> = fired.try_iter().collect();
        assert_eq!(fired.len(), TIMERS.len());
        for (at, ((earliest, _), fired_at)) in fired.iter().enumerate() {
            assert!(fired_at >= earliest, "{fired:?}");
            assert!(fired[at + 1..].iter().all(|((_, latest), _)| latest >= earliest), "{fired:?}");
        }
    }
}

/// What blocks runs elsewhere: the shard goes on meanwhile, and gets the result.
#[test]
fn blocking_work() {
    let results = on_each(|sender| async move {
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = turns.clone();
        spawn_local(async move {
            loop {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
            }
        });
        // Ends only because the shard goes on.
        let result = blocking(move || {
            while turns.load(std::sync::atomic::Ordering::Relaxed) < 10 {
                thread::sleep(Duration::from_millis(1));
            }
            7
        });
        sender.send(result.await).expect("the test waits for it");
    });
    for results in results {
        assert_eq!(results.recv(), Ok(7));
    }
}

/// Two shards that wake each other 20,000 times: no wake is lost. A lost one would be found by no tick here.
#[test]
fn wakes_across_threads() {
    const ROUNDS: u32 = 20_000;
    for backend in backends() {
        let (notify, other_notify) = (Notify::default(), Notify::default());
        let (mut there, mut from_here) = spsc::channel::<u32>(1, other_notify.clone(), Notify::default());
        let (mut back, mut from_there) = spsc::channel::<u32>(1, notify.clone(), Notify::default());
        let echo = move || async move {
            for _ in 0..ROUNDS {
                let number = poll_fn(|cx| {
                    other_notify.register(cx.waker());
                    from_here.take().map_or(Poll::Pending, Poll::Ready)
                });
                let number = number.await;
                assert!(back.put(number).is_ok());
            }
        };
        let ask = move || async move {
            for round in 0..ROUNDS {
                assert!(there.put(round).is_ok());
                let number = poll_fn(|cx| {
                    notify.register(cx.waker());
                    from_there.take().map_or(Poll::Pending, Poll::Ready)
                });
                assert_eq!(number.await, round);
            }
        };
        // glommio may sleep through a wake now and then; its shards have a tick against that, as the server's.
        let tick = || async {
            loop {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let with_tick = move |main: std::pin::Pin<Box<dyn Future<Output = ()>>>| async move {
            if backend == Backend::Glommio {
                spawn_local(tick());
            }
            main.await;
        };
        let shards = [
            spawn(backend, Some(0), "echo", move || with_tick(Box::pin(echo()))).expect("a shard"),
            spawn(backend, Some(0), "ask", move || with_tick(Box::pin(ask()))).expect("a shard"),
        ];
        shards.into_iter().for_each(|shard| shard.join().expect("its end"));
    }
}

/// A socket that listens, for an executor to adopt, and where.
fn port() -> (std::net::TcpListener, std::net::SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("no blocking");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// A connection: bytes in pieces and at once, more than the kernel's buffers hold in both directions, then the end behind the
/// last bytes, which is told after them and while writing goes on.
#[test]
fn connections() {
    const BYTES: usize = 32 << 20;
    for backend in backends() {
        let (listener, address) = port();
        let serve = move || async move {
            let listener = Listener::adopt(listener).expect("watched");
            let accepted = listener.accept().await.expect("a connection");
            let (mut stream, peer) = accepted.adopt().expect("watched");
            assert!(peer.ip().is_loopback());
            let (mut buffer, mut waiting) = (vec![0; 64 << 10], std::collections::VecDeque::new());
            let mut is_over = false;
            // Echoes, a byte at least at a time, and as much as goes.
            poll_fn(|cx| {
                loop {
                    let mut moved = false;
                    if !is_over && waiting.len() < 1 << 20 {
                        match stream.poll_read(cx, &mut buffer) {
                            Poll::Ready(Ok(0)) => (is_over, moved) = (true, true),
                            Poll::Ready(read) => {
                                waiting.extend(&buffer[..read.expect("no error")]);
                                moved = true;
                            }
                            Poll::Pending => {}
                        }
                    }
                    if !waiting.is_empty()
                        && let Poll::Ready(written) = stream.poll_write(cx, waiting.as_slices().0)
                    {
                        waiting.drain(..written.expect("no error"));
                        moved = true;
                    }
                    if is_over && waiting.is_empty() {
                        return Poll::Ready(());
                    }
                    if !moved {
                        return Poll::Pending;
                    }
                }
            })
            .await;
            stream.close().await;
        };
        let shard = spawn(backend, Some(0), "test", serve).expect("a shard");
        let mut client = TcpStream::connect(address).expect("connected");
        let mut writing = client.try_clone().expect("a second handle");
        let writer = thread::spawn(move || {
            for piece in [&b"a"[..], b"bc"] {
                writing.write_all(piece).expect("sent");
                thread::sleep(Duration::from_millis(5));
            }
            writing.write_all(&vec![7; BYTES]).expect("sent");
            writing.shutdown(Shutdown::Write).expect("ended");
        });
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed).expect("the echo");
        writer.join().expect("everything sent");
        shard.join().expect("its end");
        assert_eq!(echoed.len(), 3 + BYTES, "{backend:?}");
        assert!(echoed.starts_with(b"abc") && echoed[3..].iter().all(|byte| *byte == 7));
    }
}

/// A connection that ends while the other side's bytes are unread: the last reply arrives, and behind it the end.
#[test]
fn end_with_bytes_unread() {
    for backend in backends() {
        let (listener, address) = port();
        let serve = move || async move {
            let listener = Listener::adopt(listener).expect("watched");
            let (mut stream, _) = listener.accept().await.expect("a connection").adopt().expect("watched");
            let mut first = [0; 1];
            let read = poll_fn(|cx| stream.poll_read(cx, &mut first)).await;
            assert_eq!(read.expect("a byte"), 1);
            let written = poll_fn(|cx| stream.poll_write(cx, b"bye")).await;
            assert_eq!(written.expect("sent"), 3);
            stream.close().await;
        };
        let shard = spawn(backend, Some(0), "test", serve).expect("a shard");
        let mut client = TcpStream::connect(address).expect("connected");
        client.write_all(&[1; 1000]).expect("sent");
        shard.join().expect("its end");
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap_or_else(|error| panic!("{backend:?}: {error}"));
        assert_eq!(heard, b"bye");
    }
}

/// A task that never rests does not keep the others, and timers, from their turn.
#[test]
fn restless_task() {
    let turns = on_each(|sender| async move {
        let turns = Rc::new(std::cell::Cell::new(0u32));
        let counted = turns.clone();
        spawn_local(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            again(cx);
            Poll::<()>::Pending
        }));
        for _ in 0..20 {
            sleep(Duration::from_millis(1)).await;
        }
        sender.send(turns.get()).expect("the test waits for it");
    });
    for turns in turns {
        // Once for each of the main task's sleeps, at least.
        assert!(turns.recv().expect("how many") >= 20, "it runs as well");
    }
}

/// A shard ends while tasks of it wait, and others hold their wakers: no thread panics.
#[test]
fn end_with_tasks_left() {
    let left = on_each(|sender| async move {
        let notify = Notify::default();
        sender.send(notify.clone()).expect("the test waits for it");
        spawn_local(poll_fn(move |cx| {
            notify.register(cx.waker());
            Poll::<()>::Pending
        }));
        spawn_local(sleep(Duration::from_secs(3600)));
        yield_now().await;
    });
    // glommio does not promise as much.
    let own = backends().into_iter().filter(|backend| *backend != Backend::Glommio).count();
    for sent in left.iter().take(own) {
        let notify = sent.recv().expect("a notify");
        notify.notify();
        drop(notify);
    }
}

/// Reads from `stream` until `count` bytes have come.
async fn read_exactly(stream: &mut Stream, count: usize) -> Vec<u8> {
    let (mut read, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while read.len() < count {
        let room = buffer.len().min(count - read.len());
        let bytes = poll_fn(|cx| stream.poll_read(cx, &mut buffer[..room])).await.expect("no error");
        assert_ne!(bytes, 0, "the end after {} of {count} bytes", read.len());
        read.extend(&buffer[..bytes]);
    }
    read
}

/// A client whose task does not read it is stopped by the kernel, and so by itself; nothing of it is lost.
#[test]
fn a_client_that_is_not_read() {
    for backend in backends() {
        let (listener, address) = port();
        let (go_on, may_go_on) = channel::<usize>();
        let serve = move || async move {
            let listener = Listener::adopt(listener).expect("watched");
            let (mut stream, _) = listener.accept().await.expect("a connection").adopt().expect("watched");
            assert_eq!(read_exactly(&mut stream, 1).await, [9]);
            let rest = blocking(move || may_go_on.recv().expect("how much it has sent")).await;
            assert!(read_exactly(&mut stream, rest).await.iter().all(|byte| *byte == 9));
        };
        let shard = spawn(backend, Some(0), "test", serve).expect("a shard");
        let mut client = TcpStream::connect(address).expect("connected");
        client.write_all(&[9]).expect("sent");
        client.set_write_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        let mut sent = 0;
        // Both sockets' buffers and four pieces are far below this.
        while sent < 256 << 20 {
            match client.write(&[9; 64 << 10]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // Another test of this process gets a signal.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{backend:?}: {error}"),
            }
        }
        assert!(sent < 256 << 20, "{backend:?}: a client has sent {sent} bytes that were not read");
        go_on.send(sent).expect("the shard waits");
        shard.join().expect("its end");
    }
}

/// More connections than there are buffers have sent and are not read: one more is served, and nothing is lost.
#[test]
fn many_clients_that_are_not_read() {
    const CLIENTS: usize = 200;
    const BYTES: usize = 40 << 10;
    for backend in backends() {
        let (listener, address) = port();
        let serve = move || async move {
            let listener = Listener::adopt(listener).expect("watched");
            let mut streams = Vec::new();
            for number in 0..CLIENTS {
                let (mut stream, _) =
                    listener.accept().await.expect("a connection").adopt().expect("watched");
                // From the first byte on the kernel receives for it.
                assert_eq!(read_exactly(&mut stream, 1).await, [number as u8]);
                streams.push(stream);
            }
            let (mut last, _) = listener.accept().await.expect("a connection").adopt().expect("watched");
            for turn in 0..100u8 {
                assert_eq!(read_exactly(&mut last, 1).await, [turn]);
                let written = poll_fn(|cx| last.poll_write(cx, &[turn])).await;
                assert_eq!(written.expect("sent"), 1);
            }
            for (number, stream) in streams.iter_mut().enumerate() {
                let read = read_exactly(stream, BYTES).await;
                assert!(read.iter().all(|byte| *byte == number as u8), "bytes of another client");
            }
            last.close().await;
        };
        let shard = spawn(backend, Some(0), "test", serve).expect("a shard");
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let mut client = TcpStream::connect(address).expect("connected");
            client.write_all(&[number as u8]).expect("sent");
            clients.push(client);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(&vec![number as u8; BYTES]).expect("sent");
        }
        let mut last = TcpStream::connect(address).expect("connected");
        for turn in 0..100u8 {
            last.write_all(&[turn]).expect("sent");
            let mut echo = [0];
            last.read_exact(&mut echo).expect("an answer");
            assert_eq!(echo, [turn], "{backend:?}");
        }
        shard.join().expect("its end");
    }
}

/// A client that reads nothing takes what its socket holds, and no more; others are answered meanwhile, and it gets the rest
/// once it reads.
#[test]
fn a_client_that_reads_nothing() {
    const BYTES: usize = 64 << 20;
    for backend in backends() {
        let (listener, address) = port();
        let serve = move || async move {
            let listener = Listener::adopt(listener).expect("watched");
            let (mut slow, _) = listener.accept().await.expect("a connection").adopt().expect("watched");
            let (mut other, _) = listener.accept().await.expect("a connection").adopt().expect("watched");
            let is_done = Rc::new(std::cell::Cell::new(false));
            let done = is_done.clone();
            spawn_local(async move {
                let mut left = BYTES;
                while left > 0 {
                    let piece = vec![5; left.min(10_000)];
                    left -= poll_fn(|cx| slow.poll_write(cx, &piece)).await.expect("no error");
                }
                slow.close().await;
                done.set(true);
            });
            for turn in 0..100u8 {
                assert_eq!(read_exactly(&mut other, 1).await, [turn]);
                assert!(!is_done.get(), "a client that reads nothing has taken everything");
                assert_eq!(poll_fn(|cx| other.poll_write(cx, &[turn])).await.expect("sent"), 1);
            }
            while !is_done.get() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let shard = spawn(backend, Some(0), "test", serve).expect("a shard");
        let mut slow = TcpStream::connect(address).expect("connected");
        let mut other = TcpStream::connect(address).expect("connected");
        for turn in 0..100u8 {
            other.write_all(&[turn]).expect("sent");
            let mut echo = [0];
            other.read_exact(&mut echo).expect("an answer");
            assert_eq!(echo, [turn], "{backend:?}");
        }
        let mut taken = Vec::new();
        slow.read_to_end(&mut taken).expect("everything");
        assert_eq!(taken.len(), BYTES, "{backend:?}");
        shard.join().expect("its end");
    }
}

/// The end of a connection does not wait for a client that reads nothing, and a listener outlives clients that reset their
/// connections before they are accepted.
#[test]
fn ends_that_clients_delay() {
    for backend in backends() {
        let (listener, address) = port();
        let serve = move || async move {
            let listener = Listener::adopt(listener).expect("watched");
            let (mut stream, _) = listener.accept().await.expect("a connection").adopt().expect("watched");
            let piece = vec![1; 1 << 20];
            // Until the socket is full, and some more.
            let mut pending = 0;
            while pending < 100 {
                let taken = poll_fn(|cx| Poll::Ready(stream.poll_write(cx, &piece).is_ready())).await;
                pending = if taken { 0 } else { pending + 1 };
                let_others().await;
            }
            stream.close().await;
            loop {
                match listener.accept().await {
                    Ok(_) => return,
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted),
                }
            }
        };
        let shard = spawn(backend, Some(0), "test", serve).expect("a shard");
        let reads_nothing = TcpStream::connect(address).expect("connected");
        for _ in 0..10 {
            let reset = socket2::Socket::from(TcpStream::connect(address).expect("connected"));
            reset.set_linger(Some(Duration::ZERO)).expect("a reset at its end");
        }
        let last = TcpStream::connect(address).expect("connected");
        shard.join().expect("its end");
        drop((reads_nothing, last));
    }
}

/// Clients that connect together are accepted together: one look at the sockets for all of them.
#[test]
fn accepts_all_that_wait() {
    const CLIENTS: usize = 5;
    let (sender, addresses) = channel();
    let (all_there, are_all_there) = channel();
    let are_all_there = Arc::new(Mutex::new(are_all_there));
    let serve = move |accepted: Sender<usize>| {
        let (sender, are_all_there) = (sender.clone(), are_all_there.clone());
        async move {
            let (listener, address) = port();
            let listener = Listener::adopt(listener).expect("watched");
            sender.send(address).expect("the test waits");
            let first = listener.accept().await.expect("a connection");
            are_all_there.lock().expect("no panic").recv().expect("the clients connect");
            let mut count = 1;
            while let Some(next) = futures_lite::future::poll_once(listener.accept()).await {
                next.expect("a connection");
                count += 1;
            }
            drop(first);
            accepted.send(count).expect("the test waits");
        }
    };
    let clients = thread::spawn(move || {
        let mut clients = Vec::new();
        for address in addresses {
            clients.extend((0..CLIENTS).map(|_| TcpStream::connect(address).expect("connected")));
            all_there.send(()).expect("the shard waits");
        }
    });
    if backends().contains(&Backend::Glommio) {
        return;
    }
    for counts in on_each(serve) {
        assert_eq!(counts.recv(), Ok(CLIENTS));
    }
    clients.join().expect("no panic");
}
