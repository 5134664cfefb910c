//! What a client sends: the first frame, and every later one.

use bytes::BufMut;
use zkfast::proto::acl::RawAcl;
use zkfast::proto::reply::MultiHeader;
use zkfast::proto::request::{
    AuthPacket, Create, MultiOp, PathInt, PathVersion, PathWatch, Reconfig, SetAcl, SetData, SetWatches,
    WatchCursor, read_multi,
};
use zkfast::proto::{ConnectRequest, ConnectResponse, JuteWrite, OpCode, Reader, RequestHeader};

/// Asserts that what is read, written and read again is the same, and that nothing is left over. Tells whether it was read.
macro_rules! same {
    ($body:expr, $reader:ident => $read:expr, $put:expr) => {{
        let mut $reader = Reader::new($body);
        let first = $read;
        let is_read = first.is_ok();
        if let Ok(first) = first {
            let mut out = Vec::new();
            $put(&mut out, &first);
            let mut $reader = Reader::new(&out);
            assert_eq!($read.as_ref(), Ok(&first));
            assert_eq!($reader.rest(), b"", "more was written than is read");
        }
        is_read
    }};
}

/// A frame, without its length.
pub fn check(frame: &[u8]) -> bool {
    let is_connect = same!(frame, r => ConnectRequest::read(&mut r), |out: &mut Vec<u8>, connect: &ConnectRequest<'_>| connect.put(out));
    same!(frame, r => ConnectResponse::read(&mut r), |out: &mut Vec<u8>, connect: &ConnectResponse| connect.put(out));
    let mut reader = Reader::new(frame);
    let header = RequestHeader::read(&mut reader);
    let is_request = header.is_ok_and(|header| request(header.op, reader.rest()));
    is_connect || is_request
}

fn request(op: OpCode, body: &[u8]) -> bool {
    match op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            same!(body, r => Create::read(&mut r, op), |out: &mut Vec<u8>, create: &Create<'_>| put_create(out, create, op))
        }
        OpCode::DELETE | OpCode::CHECK => same!(body, r => PathVersion::read(&mut r), put_path_version),
        OpCode::SET_DATA => same!(body, r => SetData::read(&mut r), put_set_data),
        OpCode::SET_ACL => same!(body, r => SetAcl::read(&mut r), |out: &mut Vec<u8>, set: &SetAcl<'_>| {
            out.put_buffer(set.path);
            put_acl(out, &set.acl);
            out.put_i32(set.version);
        }),
        OpCode::EXISTS | OpCode::GET_DATA | OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => {
            same!(body, r => PathWatch::read(&mut r), |out: &mut Vec<u8>, read: &PathWatch<'_>| {
                out.put_string(read.path);
                out.put_bool(read.watch);
            })
        }
        OpCode::CHECK_WATCHES | OpCode::REMOVE_WATCHES | OpCode::ADD_WATCH => {
            same!(body, r => PathInt::read(&mut r), |out: &mut Vec<u8>, watch: &PathInt<'_>| {
                out.put_string(watch.path);
                out.put_i32(watch.number);
            })
        }
        OpCode::SET_WATCHES | OpCode::SET_WATCHES2 => set_watches(op, body),
        OpCode::MULTI | OpCode::MULTI_READ => same!(body, r => read_multi(&mut r), put_multi),
        OpCode::AUTH => {
            same!(body, r => AuthPacket::read(&mut r), |out: &mut Vec<u8>, auth: &AuthPacket<'_>| {
                out.put_i32(0);
                out.put_buffer(auth.scheme);
                out.put_buffer(auth.auth);
            })
        }
        OpCode::RECONFIG => {
            same!(body, r => Reconfig::read(&mut r), |out: &mut Vec<u8>, new: &Reconfig<'_>| {
                out.put_buffer(new.joining);
                out.put_buffer(new.leaving);
                out.put_buffer(new.new_members);
                out.put_i64(new.config_id);
            })
        }
        _ => false,
    }
}

/// A setWatches is read at once or path by path: both ways find the same, and refuse the same.
fn set_watches(op: OpCode, body: &[u8]) -> bool {
    let whole = SetWatches::read(&mut Reader::new(body), op);
    assert_eq!(WatchCursor::check(body, op), whole.as_ref().map(|_| ()).map_err(|error| *error));
    let Ok(whole) = whole else { return false };
    let (mut cursor, mut lists) = (WatchCursor::default(), <[Vec<&[u8]>; 5]>::default());
    while let Some(path) = cursor.next(body, op).expect("checked") {
        lists[cursor.list()].push(path);
    }
    assert_eq!(lists, whole.lists);
    assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), whole.paths());
    assert!(cursor.bytes() <= body.len());
    true
}

fn put_acl(out: &mut Vec<u8>, acl: &[RawAcl<'_>]) {
    out.put_count(acl.len());
    for entry in acl {
        out.put_i32(entry.perms);
        out.put_buffer(entry.scheme);
        out.put_buffer(entry.id);
    }
}

fn put_create(out: &mut Vec<u8>, create: &Create<'_>, op: OpCode) {
    out.put_buffer(create.path);
    out.put_buffer(create.data);
    put_acl(out, &create.acl);
    out.put_i32(create.flags);
    if op == OpCode::CREATE_TTL {
        out.put_i64(create.ttl_ms);
    }
}

fn put_path_version(out: &mut Vec<u8>, at: &PathVersion<'_>) {
    out.put_buffer(at.path);
    out.put_i32(at.version);
}

fn put_set_data(out: &mut Vec<u8>, set: &SetData<'_>) {
    out.put_buffer(set.path);
    out.put_buffer(set.data);
    out.put_i32(set.version);
}

fn put_multi(out: &mut Vec<u8>, ops: &Vec<MultiOp<'_>>) {
    let header = |out: &mut Vec<u8>, op| MultiHeader { op, done: false, err: -1 }.put(out);
    for op in ops {
        match op {
            MultiOp::Create(op, create) => {
                // A createTTL whose flags make it another operation has its time to live all the same.
                let is_plain = *op != OpCode::CREATE || (0..=3).contains(&create.flags);
                let sent = if create.ttl_ms == -1 && is_plain { *op } else { OpCode::CREATE_TTL };
                header(out, sent);
                put_create(out, create, sent);
            }
            MultiOp::Delete(delete) => {
                header(out, OpCode::DELETE);
                put_path_version(out, delete);
            }
            MultiOp::SetData(set) => {
                header(out, OpCode::SET_DATA);
                put_set_data(out, set);
            }
            MultiOp::Check(check) => {
                header(out, OpCode::CHECK);
                put_path_version(out, check);
            }
            MultiOp::GetData(path) | MultiOp::GetChildren(path) => {
                let is_data = matches!(op, MultiOp::GetData(_));
                header(out, if is_data { OpCode::GET_DATA } else { OpCode::GET_CHILDREN });
                out.put_string(path);
                out.put_bool(false);
            }
        }
    }
    MultiHeader::END.put(out);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let acl = vec![RawAcl { perms: 31, scheme: Some(b"world"), id: Some(b"anyone") }];
    let create =
        |flags, ttl_ms| Create { path: Some(b"/a"), data: Some(b"data"), acl: acl.clone(), flags, ttl_ms };
    let (delete, set) = (
        PathVersion { path: Some(b"/a"), version: 1 },
        SetData { path: Some(b"/a/b"), data: None, version: -1 },
    );
    let mut seeds = Vec::new();
    let mut add = |op: OpCode, body: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        out.put_i32(7);
        out.put_i32(op.0);
        body(&mut out);
        seeds.push(out);
    };
    add(OpCode::CREATE2, &|out| put_create(out, &create(1, -1), OpCode::CREATE2));
    add(OpCode::CREATE_TTL, &|out| put_create(out, &create(5, 1000), OpCode::CREATE_TTL));
    add(OpCode::DELETE, &|out| put_path_version(out, &delete));
    add(OpCode::SET_DATA, &|out| put_set_data(out, &set));
    add(OpCode::SET_ACL, &|out| {
        out.put_string(b"/a");
        put_acl(out, &acl);
        out.put_i32(3);
    });
    add(OpCode::GET_DATA, &|out| {
        out.put_string(b"/a");
        out.put_bool(true);
    });
    add(OpCode::ADD_WATCH, &|out| {
        out.put_string(b"/a");
        out.put_i32(1);
    });
    add(OpCode::SET_WATCHES2, &|out| {
        out.put_i64(9);
        for list in 0..5 {
            out.put_count(list);
            (0..list).for_each(|_| out.put_string(b"/a/b"));
        }
    });
    add(OpCode::MULTI, &|out| {
        let ops = vec![
            MultiOp::Create(OpCode::CREATE, create(0, -1)),
            MultiOp::Create(OpCode::CREATE_TTL, create(6, 5)),
            MultiOp::Delete(delete),
            MultiOp::SetData(set),
            MultiOp::Check(delete),
        ];
        put_multi(out, &ops);
    });
    add(OpCode::MULTI_READ, &|out| {
        put_multi(out, &vec![MultiOp::GetData(b"/a"), MultiOp::GetChildren(b"/")]);
    });
    add(OpCode::AUTH, &|out| {
        out.put_i32(0);
        out.put_string(b"digest");
        out.put_buffer(Some(b"user:password"));
    });
    add(OpCode::RECONFIG, &|out| {
        (0..3).for_each(|_| out.put_string(b"server.1=a:1:2:participant;3"));
        out.put_i64(-1);
    });
    let mut connect = vec![0; 28];
    connect[23] = 44;
    connect.extend([0, 0, 0, 16]);
    connect.extend([0; 17]);
    connect[24..28].copy_from_slice(&[0, 0, 0, 16]);
    seeds.push(connect);
    seeds
}
