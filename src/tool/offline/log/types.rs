//! Names of the types of txns.

use crate::proto::OpCode;

/// Types of txns by the names that ZooKeeper's tools print. Source: `Request.op2String`, 3.9.
pub const TYPES: [(OpCode, &str); 14] = [
    (OpCode::CREATE, "create"),
    (OpCode::CREATE2, "create2"),
    (OpCode::CREATE_CONTAINER, "createContainer"),
    (OpCode::CREATE_TTL, "createTTL"),
    (OpCode::DELETE, "delete"),
    (OpCode::DELETE_CONTAINER, "deleteContainer"),
    (OpCode::SET_DATA, "setData"),
    (OpCode::SET_ACL, "setACL"),
    (OpCode::CHECK, "check"),
    (OpCode::MULTI, "multi"),
    (OpCode::RECONFIG, "reconfig"),
    (OpCode::CREATE_SESSION, "createSession"),
    (OpCode::CLOSE_SESSION, "closeSession"),
    (OpCode::ERROR, "error"),
];

/// The name of a type.
pub fn type_name(op: OpCode) -> String {
    let known = TYPES.iter().find(|(known, _)| *known == op);
    known.map_or_else(|| format!("unknown({})", op.0), |(_, name)| (*name).to_owned())
}
