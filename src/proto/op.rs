//! Operation codes.

/// What a request asks for. A number, not an enumeration: clients may send any.
/// Source: `ZooDefs.OpCode`, Apache ZooKeeper 3.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpCode(pub i32);

#[allow(missing_docs)] // ZooKeeper's names
impl OpCode {
    pub const NOTIFICATION: Self = Self(0);
    pub const CREATE: Self = Self(1);
    pub const DELETE: Self = Self(2);
    pub const EXISTS: Self = Self(3);
    pub const GET_DATA: Self = Self(4);
    pub const SET_DATA: Self = Self(5);
    pub const GET_ACL: Self = Self(6);
    pub const SET_ACL: Self = Self(7);
    pub const GET_CHILDREN: Self = Self(8);
    pub const SYNC: Self = Self(9);
    pub const PING: Self = Self(11);
    pub const GET_CHILDREN2: Self = Self(12);
    pub const CHECK: Self = Self(13);
    pub const MULTI: Self = Self(14);
    pub const CREATE2: Self = Self(15);
    pub const RECONFIG: Self = Self(16);
    pub const CHECK_WATCHES: Self = Self(17);
    pub const REMOVE_WATCHES: Self = Self(18);
    pub const CREATE_CONTAINER: Self = Self(19);
    pub const DELETE_CONTAINER: Self = Self(20);
    pub const CREATE_TTL: Self = Self(21);
    pub const MULTI_READ: Self = Self(22);
    pub const AUTH: Self = Self(100);
    pub const SET_WATCHES: Self = Self(101);
    pub const SASL: Self = Self(102);
    pub const GET_EPHEMERALS: Self = Self(103);
    pub const GET_ALL_CHILDREN_NUMBER: Self = Self(104);
    pub const SET_WATCHES2: Self = Self(105);
    pub const ADD_WATCH: Self = Self(106);
    pub const WHO_AM_I: Self = Self(107);
    /// A txn, never a request.
    pub const CREATE_SESSION: Self = Self(-10);
    pub const CLOSE_SESSION: Self = Self(-11);
    /// The txn of a request that failed; the type of a failed result in a multi.
    pub const ERROR: Self = Self(-1);
}

/// Which part of a server deals with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// The view that has the connection answers it from its tree; a ping, too.
    Read,
    /// The commit side gives it a place in the order: writes, sync, closeSession.
    Ordered,
    /// It says who the client is.
    Authentication,
    /// No client may send it, or there is no such operation.
    Unknown,
}

impl OpCode {
    /// Which part of a server deals with it, as a request.
    #[inline]
    pub const fn kind(self) -> OpKind {
        match self {
            Self::GET_DATA
            | Self::EXISTS
            | Self::GET_CHILDREN
            | Self::GET_CHILDREN2
            | Self::PING
            | Self::GET_ACL
            | Self::GET_ALL_CHILDREN_NUMBER
            | Self::GET_EPHEMERALS
            | Self::WHO_AM_I
            | Self::MULTI_READ
            | Self::ADD_WATCH
            | Self::CHECK_WATCHES
            | Self::REMOVE_WATCHES
            | Self::SET_WATCHES
            | Self::SET_WATCHES2 => OpKind::Read,
            Self::CREATE
            | Self::CREATE2
            | Self::CREATE_CONTAINER
            | Self::CREATE_TTL
            | Self::DELETE
            | Self::SET_DATA
            | Self::SET_ACL
            | Self::MULTI
            | Self::RECONFIG
            | Self::SYNC
            | Self::CLOSE_SESSION => OpKind::Ordered,
            Self::AUTH | Self::SASL => OpKind::Authentication,
            _ => OpKind::Unknown,
        }
    }
}
