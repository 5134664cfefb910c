//! A server of one thread per connection, without a tree, that can be told to answer wrongly.

use crate::wire;
use bytes::BufMut;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use zkfast::proto::jute::{JuteWrite, Reader, frame};
use zkfast::proto::reply::put_reply;
use zkfast::proto::request::{self, RequestHeader};
use zkfast::proto::{ConnectResponse, OpCode, PASSWORD_BYTES, ReplyHeader, Stat, XID_PING, Zxid};

/// What is wrong with one reply in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// The data of a get is a byte short.
    ShortData,
    /// A set is answered with NoNode.
    Error,
    /// A reply has the xid of the one behind it.
    Order,
    /// The connection ends.
    HangUp,
}

/// Listens on a free port of this machine, for as long as the test process lives.
pub fn serve(lie: Lie, value_bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the port").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.expect("a connection"), lie, value_bytes));
        }
    });
    address
}

fn answer(mut stream: TcpStream, lie: Lie, value_bytes: usize) {
    let (mut bytes, mut scratch, mut out) = (Vec::new(), vec![0; 64 << 10], Vec::new());
    let (mut frames, mut closing) = (0, false);
    while let Ok(read @ 1..) = stream.read(&mut scratch) {
        bytes.extend_from_slice(&scratch[..read]);
        let mut rest = &bytes[..];
        out.clear();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let Some((body, after)) = behind.split_at_checked(u32::from_be_bytes(*length) as usize) else {
                break;
            };
            rest = after;
            frames += 1;
            let lie = if frames > 100 && frames % 100 == 0 { lie } else { Lie::None };
            if lie == Lie::HangUp {
                return;
            }
            closing = body[4..8] == OpCode::CLOSE_SESSION.0.to_be_bytes();
            if frames == 1 {
                put_session(&mut out);
            } else {
                put_answer(&mut out, body, lie, value_bytes);
            }
        }
        let consumed = bytes.len() - rest.len();
        bytes.drain(..consumed);
        if stream.write_all(&out).is_err() || closing {
            return;
        }
    }
}

fn put_session(out: &mut Vec<u8>) {
    let response = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 10_000,
        session_id: 1,
        password: [1; PASSWORD_BYTES],
        read_only: Some(false),
    };
    frame(out, |out| response.put(out));
}

fn put_answer(out: &mut Vec<u8>, body: &[u8], lie: Lie, value_bytes: usize) {
    let mut reader = Reader::new(body);
    let RequestHeader { xid, op } = RequestHeader::read(&mut reader).expect("a request");
    let zxid = Zxid::new(0, 1);
    let stat = Stat { data_bytes: value_bytes as i32, ..Stat::default() };
    let xid = if lie == Lie::Order { xid + 1 } else { xid };
    match op {
        OpCode::GET_DATA => {
            let path = request::path(&mut reader).expect("a path");
            let key = str::from_utf8(&path[path.len() - 8..]).expect("digits").parse().expect("a number");
            let mut value = wire::key_value(key, value_bytes);
            if lie == Lie::ShortData {
                value.pop();
            }
            put_reply(out, xid, zxid, |out| {
                out.put_buffer(Some(&value));
                stat.put(out);
            });
        }
        OpCode::SET_DATA if lie == Lie::Error => {
            frame(out, |out| ReplyHeader { xid, zxid: 1, err: -101 }.put(out));
        }
        OpCode::SET_DATA => put_reply(out, xid, zxid, |out| stat.put(out)),
        OpCode::CREATE | OpCode::SYNC => {
            let path = request::path(&mut reader).expect("a path");
            put_reply(out, xid, zxid, |out| out.put_string(path));
        }
        OpCode::PING => put_reply(out, XID_PING, zxid, |_| {}),
        OpCode::CLOSE_SESSION => put_reply(out, xid, zxid, |_| {}),
        OpCode(other) => put_reply(out, xid, zxid, |out| out.put_i32(other)),
    }
}
