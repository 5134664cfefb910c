//! What other servers send: packets on the quorum port, votes on the election port.

use std::fmt::Debug;
use zkfast::proto::{Epoch, Id, OpCode, ServerId, SessionId, Zxid};
use zkfast::zab::message::{
    ForwardedRequest, LearnerInfo, MessageError, Packet, PacketStream, PacketType, Revalidate, Revalidated,
    Touched, put_ack, put_ack_epoch, put_leader_info, put_ping_answer, put_proposal, read_ack_epoch,
    read_leader_info,
};
use zkfast::zab::notification::{
    Notification, ServerState, Vote, put_hello, put_notification, read_frame, read_hello,
};

/// The first byte tells in what pieces the rest arrives.
pub fn packets(input: &[u8]) -> bool {
    let Some((&piece, stream)) = input.split_first() else { return false };
    let whole = read_all(stream, stream.len().max(1));
    let pieces = read_all(stream, usize::from(piece).max(1));
    assert_eq!(pieces.0, whole.0, "cut into pieces it reads differently");
    // A length that cannot be is seen before the rest of its packet is there, or with it.
    assert_eq!(pieces.1.is_some(), whole.1.is_some(), "{:?} and {:?}", pieces.1, whole.1);
    whole.1.is_none() && !whole.0.is_empty()
}

/// The packets of a stream that arrives in pieces of `piece` bytes, and the error that ends it.
fn read_all(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<MessageError>) {
    let (mut stream, mut packets) = (PacketStream::default(), Vec::new());
    for part in bytes.chunks(piece) {
        stream.feed(part);
        loop {
            match stream.next_packet() {
                Ok(Some(packet)) => packets.push(checked(&packet)),
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
            }
        }
    }
    assert!(stream.rest().len() <= bytes.len());
    (packets, None)
}

/// The packet as it is written; reads the same again, and so does what it holds.
fn checked(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write(&mut out);
    assert_eq!(Packet::read(&out), Ok(Some((packet.clone(), out.len()))));
    let data = packet.data;
    LearnerInfo::read(data);
    let _ = (read_leader_info(data), read_ack_epoch(data));
    if let Ok(touched) = Touched::read(data) {
        let sessions: Vec<(SessionId, i32)> = touched.collect();
        assert_eq!(sessions.len() * 12, data.unwrap_or_default().len());
        again(
            &sessions,
            |out| put_ping_answer(out, packet.zxid, sessions.iter().copied()),
            |data| Touched::read(data).map(Iterator::collect),
        );
    }
    if let Ok(asked) = Revalidate::read(data) {
        again(&asked, |out| asked.write(out), Revalidate::read);
    }
    if let Ok(answer) = Revalidated::read(data) {
        again(&answer, |out| answer.write(out), Revalidated::read);
    }
    if let Ok(request) = ForwardedRequest::read(data) {
        let mut out = Vec::new();
        request.write(&mut out, &packet.ids);
        let (back, length) = Packet::read(&out).unwrap().expect("is whole");
        assert_eq!((ForwardedRequest::read(back.data), length), (Ok(request), out.len()));
        assert_eq!(back.ids, packet.ids);
    }
    out
}

/// Asserts that a packet's data reads as what was written.
fn again<T: PartialEq + Debug>(
    first: &T,
    write: impl FnOnce(&mut Vec<u8>),
    read: impl FnOnce(Option<&[u8]>) -> Result<T, MessageError>,
) {
    let mut out = Vec::new();
    write(&mut out);
    let (packet, length) = Packet::read(&out).unwrap().expect("is whole");
    assert_eq!(length, out.len());
    assert_eq!(read(packet.data).as_ref(), Ok(first));
}

/// Writes one packet.
type Write<'a> = &'a dyn Fn(&mut Vec<u8>);

pub fn packet_seeds() -> Vec<Vec<u8>> {
    let zxid = Zxid::new(3, 7);
    let request = ForwardedRequest { session: SessionId(5), cxid: 6, op: OpCode::CREATE, body: b"record" };
    let writes: [Write<'_>; 8] = [
        &|out| {
            let info = LearnerInfo::bytes(ServerId(1), 0x10000, 4);
            Packet::with(PacketType::FOLLOWERINFO, zxid, &info).write(out);
        },
        &|out| put_leader_info(out, Epoch(3), 0x10001),
        &|out| put_ack_epoch(out, zxid, 2),
        &|out| put_proposal(out, zxid, &[1; 44]),
        &|out| put_ack(out, zxid),
        &|out| put_ping_answer(out, zxid, [(SessionId(1), 2), (SessionId(3), 4)].into_iter()),
        &|out| {
            Revalidate { session: SessionId(9), timeout: 10 }.write(out);
            Revalidated { session: SessionId(9), valid: true }.write(out);
        },
        &|out| request.write(out, &[Id::new("ip", "127.0.0.1"), Id::new("digest", "a:b")]),
    ];
    let mut all = vec![5];
    let mut seeds = Vec::new();
    for write in writes {
        let mut out = vec![7];
        write(&mut out);
        write(&mut all);
        seeds.push(out);
    }
    seeds.push(all);
    seeds
}

/// A hello, then votes, each in a frame.
pub fn votes(input: &[u8]) -> bool {
    let (mut rest, mut votes) = (input, 0);
    if let Ok(Some((_, length))) = read_hello(input) {
        assert!(length <= input.len());
        // It is not there before it is whole, and what follows makes no difference.
        assert_eq!(read_hello(&input[..length - 1]), Ok(None));
        assert_eq!(read_hello(&input[..length]), read_hello(input));
        rest = &input[length..];
    }
    while let Ok(Some((frame, length))) = read_frame(rest) {
        assert_eq!(frame.len() + 4, length);
        assert_eq!(read_frame(&rest[..length - 1]), Ok(None));
        if let Ok(vote) = Notification::read(frame) {
            check_vote(&vote);
            votes += 1;
        }
        rest = &rest[length..];
    }
    rest.is_empty() && votes > 0
}

fn check_vote(vote: &Notification<'_>) {
    let mut out = Vec::new();
    let config = vote.config.unwrap_or_default();
    put_notification(&mut out, vote.state, vote.round, vote.vote.as_ref(), config, vote.next_config);
    let (frame, length) = read_frame(&out).unwrap().expect("is whole");
    assert_eq!(length, out.len());
    // Older forms are written in the newest one.
    let expected = Notification { version: 2, config: Some(config), ..*vote };
    assert_eq!(Notification::read(frame), Ok(expected));
}

pub fn vote_seeds() -> Vec<Vec<u8>> {
    let vote = Vote { leader: ServerId(3), zxid: Zxid::new(5, 7), round: 9, peer_epoch: 5 };
    let mut new = Vec::new();
    put_hello(&mut new, ServerId(2), "127.0.0.1:3888");
    put_notification(
        &mut new,
        ServerState::Leading,
        9,
        Some(&vote),
        b"server.1=a:1:2:participant\nversion=0",
        Some(b"server.1=a:1:2:participant\nversion=1"),
    );
    put_notification(&mut new, ServerState::Looking, 9, None, b"", None);
    let mut old = 2i64.to_be_bytes().to_vec();
    for length in [28u8, 40] {
        old.extend([0, 0, 0, length]);
        old.extend([0, 0, 0, 1]);
        old.extend(vec![1; usize::from(length) - 4]);
    }
    vec![new, old]
}
