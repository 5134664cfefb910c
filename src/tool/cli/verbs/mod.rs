//! The verbs.

mod diff;
mod ensemble;
mod explore;
mod quota;
mod read;
mod transfer;
mod watching;
mod write;

use super::verb::Verb;
use super::words::{flag, value};

/// Each verb that needs no shell, in the order of the help: zkCli's first.
pub static VERBS: [Verb; 30] = [
    Verb {
        name: "ls",
        usage: "[-s] [-w] [-R] PATH",
        about: "lists the children; -s the Stat, -w leaves a watch, -R the whole subtree",
        flags: &[flag("s"), flag("w"), flag("R")],
        arguments: (1, 2),
        run: read::ls,
    },
    Verb {
        name: "stat",
        usage: "[-w] PATH",
        about: "shows the Stat; -w leaves a watch",
        flags: &[flag("w")],
        arguments: (1, 2),
        run: read::stat,
    },
    Verb {
        name: "get",
        usage: "[-s] [-w] [-b|-x|--raw|--hex|--base64] PATH",
        about: "shows the data: as text, -b in base64, -x as a dump, --raw byte for byte",
        flags: &[flag("s"), flag("w"), flag("b"), flag("x"), flag("raw"), flag("hex"), flag("base64")],
        arguments: (1, 2),
        run: read::get,
    },
    Verb {
        name: "set",
        usage: "[-s] [-v VERSION] [-b] PATH DATA|-",
        about: "sets the data; -b takes base64, - standard input",
        flags: &[flag("s"), value("v"), flag("b")],
        arguments: (2, 2),
        run: write::set,
    },
    Verb {
        name: "create",
        usage: "[-s] [-e] [-c] [-t MS] [-b] [--print] PATH [DATA|-] [ACL]",
        about: "creates a znode: -s sequential, -e ephemeral, -c container, -t with a time to live; --print shows its path",
        flags: &[flag("s"), flag("e"), flag("c"), value("t"), flag("b"), flag("print")],
        arguments: (1, 3),
        run: write::create,
    },
    Verb {
        name: "delete",
        usage: "[-v VERSION] PATH",
        about: "deletes a znode without children",
        flags: &[value("v")],
        arguments: (1, 1),
        run: write::delete,
    },
    Verb {
        name: "deleteall",
        usage: "[-b BATCH] PATH",
        about: "deletes a subtree, BATCH znodes in one txn (1000)",
        flags: &[value("b")],
        arguments: (1, 1),
        run: write::delete_all,
    },
    Verb {
        name: "getAcl",
        usage: "[-s] PATH",
        about: "shows the access list",
        flags: &[flag("s")],
        arguments: (1, 1),
        run: read::get_acl,
    },
    Verb {
        name: "setAcl",
        usage: "[-s] [-v VERSION] [-R] PATH ACL",
        about: "sets the access list, scheme:id:perms[,...]; -R of the whole subtree",
        flags: &[flag("s"), value("v"), flag("R")],
        arguments: (2, 2),
        run: write::set_acl,
    },
    Verb {
        name: "addauth",
        usage: "SCHEME AUTH|-",
        about: "presents a credential; - reads it from standard input",
        flags: &[],
        arguments: (1, 2),
        run: ensemble::add_auth,
    },
    Verb {
        name: "addWatch",
        usage: "[-m PERSISTENT|PERSISTENT_RECURSIVE] PATH",
        about: "leaves a watch that stays; recursive unless -m says otherwise",
        flags: &[value("m")],
        arguments: (1, 1),
        run: watching::add,
    },
    Verb {
        name: "removewatches",
        usage: "[-c|-d|-p|-r|-a] [-l] PATH",
        about: "removes watches: of children, data, persistent, persistent recursive, any",
        flags: &[flag("c"), flag("d"), flag("p"), flag("r"), flag("a"), flag("l")],
        arguments: (1, 1),
        run: watching::remove,
    },
    Verb {
        name: "sync",
        usage: "PATH",
        about: "waits until this server has what the leader has committed",
        flags: &[],
        arguments: (1, 1),
        run: ensemble::sync,
    },
    Verb {
        name: "config",
        usage: "[-c] [-w] [-s]",
        about: "shows the ensemble's configuration; -c the addresses for clients",
        flags: &[flag("c"), flag("w"), flag("s")],
        arguments: (0, 0),
        run: ensemble::config,
    },
    Verb {
        name: "reconfig",
        usage: "[-s] [-v VERSION] [-file FILE | -members SERVERS | -add SERVERS -remove IDS]",
        about: "changes the ensemble's members",
        flags: &[flag("s"), value("v"), value("file"), value("members"), value("add"), value("remove")],
        arguments: (0, 0),
        run: ensemble::reconfig,
    },
    Verb {
        name: "whoami",
        usage: "",
        about: "shows the identities of this connection",
        flags: &[],
        arguments: (0, 0),
        run: ensemble::whoami,
    },
    Verb {
        name: "getEphemerals",
        usage: "[PATH]",
        about: "lists this session's ephemerals below PATH",
        flags: &[],
        arguments: (0, 1),
        run: read::get_ephemerals,
    },
    Verb {
        name: "getAllChildrenNumber",
        usage: "PATH",
        about: "counts the znodes below PATH",
        flags: &[],
        arguments: (1, 1),
        run: read::get_all_children_number,
    },
    Verb {
        name: "listquota",
        usage: "PATH",
        about: "shows the quota of a subtree and what it uses",
        flags: &[],
        arguments: (1, 1),
        run: quota::list,
    },
    Verb {
        name: "setquota",
        usage: "-n N | -b BYTES | -N N | -B BYTES PATH",
        about: "limits a subtree: -n and -b warn, -N and -B refuse",
        flags: &[value("n"), value("b"), value("N"), value("B")],
        arguments: (1, 1),
        run: quota::set,
    },
    Verb {
        name: "delquota",
        usage: "[-n] [-b] [-N] [-B] PATH",
        about: "removes these limits, or the whole quota",
        flags: &[flag("n"), flag("b"), flag("N"), flag("B")],
        arguments: (1, 1),
        run: quota::delete,
    },
    Verb {
        name: "version",
        usage: "",
        about: "shows the version of this program",
        flags: &[],
        arguments: (0, 0),
        run: ensemble::version,
    },
    Verb {
        name: "watch",
        usage: "[--recursive] [--count N] PATH",
        about: "a line for each event, until interrupted",
        flags: &[flag("recursive"), flag("R"), value("count")],
        arguments: (1, 1),
        run: watching::watch,
    },
    Verb {
        name: "tree",
        usage: "[-L DEPTH] [PATH]",
        about: "draws a subtree",
        flags: &[value("L")],
        arguments: (0, 1),
        run: explore::tree,
    },
    Verb {
        name: "du",
        usage: "[-L DEPTH] [PATH]",
        about: "bytes of data and number of znodes, of each subtree down to DEPTH (1)",
        flags: &[value("L")],
        arguments: (0, 1),
        run: explore::du,
    },
    Verb {
        name: "find",
        usage: "[--name GLOB] [--type persistent|ephemeral] [--owner SESSION] [--size [+-]BYTES] [-L DEPTH] [PATH]",
        about: "lists the znodes of a subtree that fit",
        flags: &[value("name"), value("type"), value("owner"), value("size"), value("L")],
        arguments: (0, 1),
        run: explore::find,
    },
    Verb {
        name: "export",
        usage: "[--system] [--out FILE] PATH",
        about: "writes a subtree as lines of JSON",
        flags: &[flag("system"), value("out")],
        arguments: (1, 1),
        run: transfer::export,
    },
    Verb {
        name: "import",
        usage: "[--to PATH] [--parents] [--conflict skip|overwrite|fail] [--ephemerals skip|persistent] [--rate N] [--dry-run] [--resume FILE] [FILE|-]",
        about: "creates the znodes of an export",
        flags: &[
            value("to"),
            flag("parents"),
            value("conflict"),
            value("ephemerals"),
            value("rate"),
            flag("dry-run"),
            value("resume"),
        ],
        arguments: (0, 1),
        run: transfer::import,
    },
    Verb {
        name: "copy",
        usage: "[--parents] [--conflict skip|overwrite|fail] [--ephemerals skip|persistent] [--rate N] [--dry-run] [--system] FROM TO",
        about: "copies a subtree; each is /PATH here, or HOST:PORT[,...]/PATH",
        flags: &[
            flag("parents"),
            value("conflict"),
            value("ephemerals"),
            value("rate"),
            flag("dry-run"),
            flag("system"),
        ],
        arguments: (2, 2),
        run: transfer::copy,
    },
    Verb {
        name: "diff",
        usage: "[--no-ephemerals] A B",
        about: "compares two subtrees; each is /PATH here, HOST:PORT[,...]/PATH, or file:EXPORT",
        flags: &[flag("no-ephemerals")],
        arguments: (2, 2),
        run: diff::diff,
    },
];

/// The verb of that name.
pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// Verbs of the shell alone: name, usage, what it does.
pub const SHELL_VERBS: [(&str, &str, &str); 7] = [
    ("connect", "[HOST:PORT[,...][/CHROOT]]", "opens another session, here or elsewhere"),
    ("close", "", "ends the session"),
    ("quit", "", "ends the session and the shell"),
    ("history", "", "shows the last commands with their numbers"),
    ("redo", "NUMBER", "runs a command of the history again"),
    ("printwatches", "[on|off]", "shows events of watches, or not"),
    ("help", "[VERB]", "shows the verbs, or the usage of one"),
];
