//! ZooKeeper's protocol and guarantees in one native process, a thread per core on epoll or io_uring.
//!
//! The library is the server and its parts. Everything but `server` is a function of its inputs: it knows no
//! file, socket, thread, clock or environment, and its random numbers come from a seed, so a test can replay any
//! history. `server` (feature of that name, on by default) connects it to the world.
//!
//! `a ---> b`: a uses b, and all that is right of it. Not drawn: `config`, `admin` (used by replica and what is left of
//! it), `client` (used by sim and by loadgen).
//!
//! ```text
//! tool ---> server, and all that is right of it
//!
//! server, sim ---> driver ---> replica ---> zab, session, watch ------\
//!                     \------> storage ---> wal, snapshot ---> database ---> txn ---> tree ---> auth ---> proto
//! ```
//!
//! | module | what it is | what always holds |
//! |---|---|---|
//! | [`proto`] | the client wire, in bytes and records | every length is checked against the bytes that are there before it is used |
//! | [`tree`] | znodes at one zxid | every znode but the root has its parent; copies share every body |
//! | [`txn`] | a request that `replica` has checked, as data, and what it does to a tree | the same txns in the same order make equal trees, digests included |
//! | [`watch`] | which connections get an event for a change; views leave out those that may not read it | a connection gets at most one event for a trigger |
//! | [`session`] | ids, passwords, timeouts, expiry; `replica` says which client may attach | a session is in one bucket until it expires, in none after |
//! | [`auth`] | who a connection is and what it may do | an id is only ever added by what proves it |
//! | [`zab`] | what servers say to each other: election, synchronization, broadcast, quorums | an epoch has one leader; committed is what a quorum has durable |
//! | [`replica`] | a server's roles: the commit side checks writes, opens sessions and makes groups; a follower's side forwards; views serve connections, and say which of them not to read for now | `view.zxid <= committed <= proposed`; each request is answered once, in order, also over a change of leaders |
//! | [`driver`] | runs a replica over a world of clocks, log, views, connections and files | nothing is sent or shown before what it stands on is durable |
//! | [`database`] | what a server knows: tree, quotas, access lists, sessions; logged txns bring it up to date | a txn that does not fit is an error, never skipped |
//! | [`wal`] | the log's bytes | an acknowledged record is given back unchanged, or recovery refuses |
//! | [`snapshot`] | a tree and its sessions in bytes, in ZooKeeper's format as well | decoding gives back all that was encoded, or refuses |
//! | [`storage`] | which files there are, and what a start makes of them | all that was acknowledged is given back, or it says what is wrong and changes nothing |
//! | `sim` | an ensemble with faulty disks, net and clocks, from a seed (tests, feature `sim`) | a seed is one history |
//! | `kerberos` (feature `kerberos`) | the host's library of Kerberos | nothing that it allocates outlives it |
//! | `tls` (feature `tls`) | keys, certificates, and the bytes of one connection with TLS | it has no socket |
//! | [`config`] | `zoo.cfg`, flags and JVM flags into one checked value | no key is ignored in silence |
//! | [`admin`] | four-letter words and metrics as text, commands of HTTP as JSON | it renders what it is given and asks no other part |
//! | [`client`] | the client's side of the wire | it speaks what [`proto`] reads |
//! | `server` | sockets, files, clocks, threads; HTTP; import and export of ZooKeeper's data | nothing is answered before it is durable; after the first error of the log the process ends |
//! | `tool` | `zkfast`'s commands beside the server: `cli`, `dev`, `log`, `rolling-restart`, `snapshot`, `status` | what a script reads goes to standard output, the rest elsewhere |
//!
//! Pages for people are in [`docs`].

pub mod admin;
pub mod auth;
pub mod client;
pub mod config;
pub mod database;
pub mod driver;
#[cfg(feature = "kerberos")]
pub mod kerberos;
pub mod proto;
pub mod replica;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod snapshot;
pub mod storage;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tool")]
pub mod tool;
pub mod tree;
pub mod txn;
pub mod wal;
pub mod watch;
pub mod zab;

/// Where a page's links lead in rustdoc. In the repository they lead to files, by definitions at the end of each page; the
/// first definition of a name counts, so these stand before the page.
macro_rules! page {
    ($file:literal) => {
        concat!(
            "[architecture]: self::architecture\n",
            "[benchmarks]: self::benchmarks\n",
            "[changes]: self::changes\n",
            "[cli]: self::cli\n",
            "[compatibility]: self::compatibility\n",
            "[configuration]: self::configuration\n",
            "[contributing]: self::contributing\n",
            "[cost]: self::cost\n",
            "[decisions]: self::decisions\n",
            "[ensemble]: self::ensemble\n",
            "[glossary]: self::glossary\n",
            "[http]: self::http\n",
            "[limits]: self::limits\n",
            "[metrics]: self::metrics\n",
            "[offline]: self::offline\n",
            "[operating]: self::operating\n",
            "[packages]: self::packages\n",
            "[reliability]: self::reliability\n",
            "[wal]: self::wal\n",
            "[wire]: self::wire\n",
            "[words]: self::four_letter_words\n",
            "[between]: self::wire#between-servers\n",
            "[dependencies]: self::dependencies\n",
            "[threat-model]: self::threat_model\n",
            "[damage]: self::ensemble#damaged-data\n",
            "[digests]: self::wal#digests\n",
            "[engines]: self::benchmarks#engines\n",
            "[left-out]: self::four_letter_words#names-left-out\n",
            "[lines]: self::operating#what-the-log-says\n",
            "[memory]: self::benchmarks#memory\n",
            "[new-disk]: self::operating#a-new-disk\n",
            "[restarting]: self::operating#stopping-restarting-upgrading\n",
            "[statuses]: self::operating#exit-statuses\n",
            "\n",
            include_str!($file)
        )
    };
}

/// What no single module says: the pages of `src/docs`.
pub mod docs {
    #[doc = page!("docs/architecture.md")]
    pub mod architecture {}

    #[doc = page!("docs/ensemble.md")]
    pub mod ensemble {}

    #[doc = page!("docs/limits.md")]
    pub mod limits {}

    #[doc = page!("docs/console.md")]
    pub mod console {}

    #[doc = page!("docs/glossary.md")]
    pub mod glossary {}

    #[doc = page!("docs/decisions.md")]
    pub mod decisions {}

    #[doc = page!("docs/wire.md")]
    pub mod wire {}

    #[doc = page!("docs/wal.md")]
    pub mod wal {}

    #[doc = page!("docs/compatibility.md")]
    pub mod compatibility {}

    #[doc = page!("docs/configuration.md")]
    pub mod configuration {}

    #[doc = page!("docs/operating.md")]
    pub mod operating {}

    #[doc = page!("docs/tls.md")]
    pub mod tls {}

    #[doc = page!("docs/packages.md")]
    pub mod packages {}

    #[doc = page!("docs/offline.md")]
    pub mod offline {}

    #[doc = page!("docs/cli.md")]
    pub mod cli {}

    #[doc = page!("docs/four-letter-words.md")]
    pub mod four_letter_words {}

    #[doc = page!("docs/http.md")]
    pub mod http {}

    #[doc = page!("docs/metrics.md")]
    pub mod metrics {}

    #[doc = page!("docs/reliability.md")]
    pub mod reliability {}

    #[doc = page!("docs/benchmarks.md")]
    pub mod benchmarks {}

    #[doc = page!("docs/cost.md")]
    pub mod cost {}

    #[doc = page!("docs/changes.md")]
    pub mod changes {}

    #[doc = page!("docs/contributing.md")]
    pub mod contributing {}

    #[doc = page!("docs/security.md")]
    pub mod security {}

    #[doc = page!("docs/threat-model.md")]
    pub mod threat_model {}

    #[doc = page!("docs/dependencies.md")]
    pub mod dependencies {}

    #[doc = page!("docs/sasl.md")]
    pub mod sasl {}
}
