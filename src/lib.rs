//! ZooKeeper's protocol and guarantees in one native process, a thread per core on epoll or io_uring.
//!
//! The library is the server and its parts. Everything but `server` is a function of its inputs: it knows no
//! file, socket, thread, clock or environment and draws no random number that nobody seeded, so tests can hand it any
//! history. `server` (feature of that name, on by default) brings the world to it.
//!
//! ```text
//!           config              admin             client
//!             |                   |                 |
//! server ---> replica ---> zab, session, watch, txn ---> tree ---> auth ---> proto
//!    \------> storage ---> wal, snapshot ------------------------------------/
//! ```
//!
//! | module | what it is | what always holds |
//! |---|---|---|
//! | [`proto`] | the client wire, in bytes and records | nothing is indexed or allocated by a length that was not compared with what is there |
//! | [`tree`] | znodes at one zxid | every znode but the root has its parent; copies share every body |
//! | [`txn`] | a checked request as data, and what it does to a tree | the same txns in the same order make equal trees, digests included |
//! | [`watch`] | who is told of which change | a connection is told of one trigger at most once |
//! | [`session`] | ids, passwords, timeouts | a session is in one bucket until it expires, in none after |
//! | [`auth`] | who a connection is and what it may do | an id is only ever added by what proves it |
//! | [`zab`] | what servers say to each other: election, synchronization, broadcast, quorums | an epoch has one leader; committed is what a quorum has durable |
//! | [`replica`] | a server's roles: commit side or follower's side, and the views | `view.zxid <= committed <= proposed`; each request is answered once, in order, also over a change of leaders |
//! | [`wal`] | the log's bytes | an acknowledged record is given back unchanged, or recovery refuses |
//! | [`snapshot`] | a tree and its sessions in bytes, ZooKeeper's files as well | decoding gives back all that was encoded, or refuses |
//! | [`storage`] | which files there are, and what a start makes of them | all that was acknowledged is given back, or it says what is wrong and changes nothing |
//! | `sim` | an ensemble with faulty disks, net and clocks, from a seed (tests, feature `sim`) | a seed is one history |
//! | [`config`] | `zoo.cfg`, flags and JVM flags into one checked value | no key is passed over in silence |
//! | [`admin`] | four-letter words and metrics as text | it renders what it is given and asks nobody |
//! | [`client`] | the client's side of the wire | it speaks what [`proto`] reads |
//! | `sim` (tests, feature `sim`) | an ensemble on a network, disks and clocks that fail by a seed | a seed is one history |
//! | `server` | sockets, files, clocks, threads | nothing is answered before it is durable; the first error of the log is the last |
//!
//! Pages for people are in [`docs`].

pub mod admin;
pub mod auth;
pub mod client;
pub mod config;
pub mod proto;
pub mod replica;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod snapshot;
pub mod storage;
pub mod tree;
pub mod txn;
pub mod wal;
pub mod watch;
pub mod zab;

/// What no single module says: the pages of `src/docs`.
///
/// A page's links lead to files, for who reads it in the repository. Here a definition in front of the page comes
/// first, and leads to the module that shows the file.
pub mod docs {
    #[doc = "[wal]: self::wal\n[wire]: self::wire\n[configuration]: self::configuration"]
    #[doc = "[operating]: self::operating\n\n"]
    #[doc = include_str!("docs/architecture.md")]
    pub mod architecture {}

    #[doc = "[words]: self::four_letter_words\n\n"]
    #[doc = include_str!("docs/wire.md")]
    pub mod wire {}

    #[doc = include_str!("docs/wal.md")]
    pub mod wal {}

    #[doc = "[wire]: self::wire\n[words]: self::four_letter_words"]
    #[doc = "[wal]: self::wal\n[configuration]: self::configuration\n[architecture]: self::architecture\n\n"]
    #[doc = include_str!("docs/compatibility.md")]
    pub mod compatibility {}

    #[doc = "[operating]: self::operating\n\n"]
    #[doc = include_str!("docs/configuration.md")]
    pub mod configuration {}

    #[doc = "[words]: self::four_letter_words"]
    #[doc = "[configuration]: self::configuration\n[architecture]: self::architecture\n\n"]
    #[doc = include_str!("docs/operating.md")]
    pub mod operating {}

    #[doc = include_str!("docs/four-letter-words.md")]
    pub mod four_letter_words {}

    #[doc = include_str!("docs/reliability.md")]
    pub mod reliability {}

    #[doc = "[architecture]: self::architecture\n\n"]
    #[doc = include_str!("docs/cost.md")]
    pub mod cost {}
}
