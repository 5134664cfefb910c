//! The console: who gets its page, with which headers, and what it asks of the tree: pages of children, access lists, and
//! queries that are wrong.

use crate::harness::alone;
use crate::http::{Answer, client, create, exchange, get, server};
use std::net::SocketAddr;
use zkfast::client::Request;
use zkfast::client::net::Connection;
use zkfast::proto::{Acl, Id, OpCode, Perms};

/// Files of the page, with what they begin with.
const FILES: [(&str, &str, &str); 4] = [
    ("console.css", "text/css;charset=utf-8", "/*"),
    ("icon.svg", "image/svg+xml", "<svg"),
    ("main.js", "text/javascript;charset=utf-8", "//"),
    ("tree.js", "text/javascript;charset=utf-8", "//"),
];

/// An answer to a request with more headers, each with its line end.
fn ask(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    Answer::of(&exchange(address, request.as_bytes())).expect("an answer")
}

fn call(client: &mut Connection, request: &Request) {
    let reply = client.call(request, &mut Vec::new()).expect("an answer");
    assert_eq!(reply.header.err, 0, "{request:?}: {reply:?}");
}

/// A browser gets a page that may load nothing from elsewhere, run no script that stands in it, and be in no frame; a tool
/// gets the list as before. There is no way from a file's name to anything else.
#[test]
fn page_and_headers() {
    let _alone = alone();
    let (_server, http) = server(&[]);
    let page = ask(http, "/", "Accept: text/html,*/*;q=0.8\r\n");
    assert!(page.status == 200 && page.body.starts_with("<!doctype html>"), "{page:?}");
    let mut answers = vec![page];
    for (name, kind, begin) in FILES {
        let file = get(http, &format!("/console/{name}"));
        assert!(
            file.head.contains(&format!("content-type: {kind}")) && file.body.starts_with(begin),
            "{file:?}"
        );
        answers.push(file);
    }
    for answer in answers {
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n",
            "x-content-type-options: nosniff\r\n",
            "referrer-policy: no-referrer\r\n",
            "x-frame-options: deny\r\n",
            "cross-origin-resource-policy: same-origin\r\n",
        ] {
            assert!(format!("{}\r\n", answer.head).contains(header), "{header} is not in {}", answer.head);
        }
        // Nothing in a file is a reference to elsewhere, or a script or style that the policy forbids.
        let body = answer.body.replace("http://www.w3.org/2000/svg", "");
        for forbidden in
            ["http://", "https://", "//cdn", "<style", "style=\"", "onclick=\"", "javascript:", "eval("]
        {
            assert!(!body.contains(forbidden), "{forbidden} in {body}");
        }
        assert!(!body.contains("<script>"), "{body}");
    }
    let list = get(http, "/");
    assert!(list.has("/commands") && list.has("the console") && !list.has("<"), "{list:?}");
    for path in [
        "/console/",
        "/console/nope.js",
        "/console/../main.js",
        "/console/%2e%2e/%2e%2e/etc/passwd",
        "/console/main.js%00",
        "/console/Main.js",
    ] {
        assert_eq!(get(http, path).status, 404, "{path}");
    }
}

/// Without the console there is no page, no file and no question about the tree; the rest stays.
#[test]
fn switched_off() {
    let _alone = alone();
    let (_server, http) = server(&[("admin.console.enabled", "false")]);
    let index = ask(http, "/", "Accept: text/html\r\n");
    assert!(index.status == 200 && index.body.starts_with("zkfast ") && !index.has("console"), "{index:?}");
    for path in
        ["/console/main.js", "/api/znode?path=/", "/api/children?path=/", "/api/settings", "/api/ensemble"]
    {
        assert_eq!(get(http, path).status, 404, "{path}");
    }
    assert_eq!(get(http, "/commands/ruok").status, 200);
}

/// Names of a page, and the one after which the next page begins.
fn names(answer: &Answer) -> (Vec<String>, Option<String>) {
    let value = |line: &str, name: &str| {
        let rest = line.trim().strip_prefix(&format!("\"{name}\" : "))?;
        Some(rest.trim_end_matches(',').trim_matches('"').to_owned())
    };
    let names = answer.body.lines().filter_map(|line| value(line, "name")).collect();
    let next = answer.body.lines().find_map(|line| value(line, "next")).expect("next");
    (names, Some(next).filter(|next| next != "null"))
}

/// 5,000 children come in pages, each once, in the order of their names, whatever the size of a page; a prefix leaves those
/// that begin with it.
#[test]
fn pages_of_children() {
    const CHILDREN: usize = 5000;
    let _alone = alone();
    let (server, http) = server(&[]);
    let mut client = client(&server);
    call(&mut client, &create("/many", b""));
    for number in 0..CHILDREN {
        client.queue(&create(&format!("/many/n {:04}+ä", number * 37 % CHILDREN), b"12"));
        if number % 500 == 499 {
            client.flush().expect("the requests are sent");
            (0..500).for_each(|_| _ = client.receive().expect("an answer"));
        }
    }
    let expected: Vec<_> = (0..CHILDREN).map(|number| format!("n {number:04}+ä")).collect();
    for limit in [1000, 777] {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let encoded = after.replace(' ', "%20").replace('+', "%2B").replace('ä', "%C3%A4");
            let page = get(http, &format!("/api/children?path=/many&limit={limit}&after={encoded}"));
            assert!(page.status == 200 && page.has("\"num_children\" : 5000"), "{page:?}");
            assert!(page.has("\"data_length\" : 2") && page.has("\"kind\" : \"persistent\""));
            let (names, next) = names(&page);
            all.extend(names);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(all, expected, "limit {limit}");
    }
    let (tens, next) = names(&get(http, "/api/children?path=/many&prefix=n+499&limit=20"));
    assert_eq!((tens.as_slice(), next), (&expected[4990..], None));
}

/// What an anonymous page, one with the right password and one with a wrong one see of a znode that its owner alone may
/// read, and of one that everybody may read: digests are masked without ADMIN.
#[test]
fn access_lists() {
    let _alone = alone();
    let (server, http) = server(&[]);
    let mut client = client(&server);
    let auth = Request::Auth { scheme: b"digest".to_vec(), auth: Some("alice:wön der".into()) };
    call(&mut client, &auth);
    let mine = Acl { perms: Perms::ALL, id: Id::new("auth", "") };
    let anyone = Acl { perms: Perms::READ, id: Id::new("world", "anyone") };
    for (path, acl) in [("/mine", vec![mine.clone()]), ("/shown", vec![mine, anyone])] {
        let (path, data) = (path.as_bytes().to_vec(), Some(b"secret".to_vec()));
        call(&mut client, &Request::Create { op: OpCode::CREATE, path, data, acl, flags: 0, ttl_ms: -1 });
    }
    let right = "Authorization: digest alice:wön der\r\n";
    let wrong = "Authorization: Digest alice:wander\r\n";
    for (path, headers, status, shown) in [
        ("/api/znode?path=/mine", "", 403, "\"code\" : \"NoAuth\""),
        ("/api/znode?path=/mine", wrong, 403, "\"code\" : \"NoAuth\""),
        ("/api/znode?path=/mine", right, 200, "\"data\" : \"c2VjcmV0\""),
        ("/api/znode?path=/mine&bytes=2", right, 200, "\"data\" : \"c2U=\",\n  \"data_shown\" : 2"),
        ("/api/znode?path=/shown", "", 200, "\"id\" : \"alice:x\""),
        ("/api/znode?path=/shown", wrong, 200, "\"id\" : \"alice:x\""),
        ("/api/znode?path=/shown", right, 200, "\"perms\" : \"cdrwa\""),
        ("/api/children?path=/mine", "", 403, "\"code\" : \"NoAuth\""),
        ("/api/children?path=/mine", right, 200, "\"num_children\" : 0"),
        ("/api/children?path=/", "", 200, "\"name\" : \"mine\",\n    \"readable\" : false\n"),
        ("/api/children?path=/", right, 200, "\"name\" : \"mine\",\n    \"readable\" : true"),
        ("/api/znode?path=/", "Authorization: basic YTpi\r\n", 401, "\"code\" : \"AuthFailed\""),
        ("/api/znode?path=/", "Authorization: digest\r\n", 401, "\"code\" : \"AuthFailed\""),
    ] {
        let answer = ask(http, path, headers);
        assert!(answer.status == status && answer.has(shown), "{path} {headers}: {answer:?}");
        assert!(status == 200 || !answer.has("c2U"), "{path} shows data: {answer:?}");
    }
    assert!(!ask(http, "/api/znode?path=/shown", right).has("alice:x"), "an owner sees the digest");
    let output = server.whole_output();
    assert!(!output.contains("wön der") && !output.contains("wander"), "a password is in the log: {output}");
}

/// A query that is wrong is refused with the parameter, its value and what it may be; nothing of it leads out of the tree.
#[test]
fn wrong_queries() {
    let _alone = alone();
    let (_server, http) = server(&[]);
    let long = format!("/api/znode?path=/{}", "a".repeat(7000));
    let longer = format!("/api/znode?path=/{}", "a".repeat(9000));
    for (path, status, why) in [
        ("/api/znode", 400, "path: is missing"),
        ("/api/znode?path=", 400, "is not a path that a znode may have"),
        ("/api/znode?path=zookeeper", 400, "is not a path that a znode may have"),
        ("/api/znode?path=/zookeeper/../zookeeper", 400, "is not a path that a znode may have"),
        ("/api/znode?path=%2Fzookeeper%2F%2e%2e%2F%2e%2e%2Fetc%2Fpasswd", 400, "is not a path"),
        ("/api/znode?path=/zookeeper/", 400, "is not a path that a znode may have"),
        ("/api/znode?path=/zookeeper%00", 400, "is not a path that a znode may have"),
        ("/api/znode?path=/%ff", 400, "path: is not encoded in UTF-8"),
        ("/api/znode?path=/%zz", 400, "path: is not encoded in UTF-8"),
        ("/api/znode?path=/etc/passwd", 404, "\"code\" : \"NoNode\""),
        ("/api/znode?path=/&bytes=-1", 400, "bytes: \\\"-1\\\" is not a number from 0 to 1048576"),
        ("/api/children?path=/&limit=0", 400, "limit: \\\"0\\\" is not a number from 1 to 1000"),
        ("/api/children?path=/&limit=1001", 400, "limit: \\\"1001\\\" is not a number from 1 to 1000"),
        ("/api/children?path=/&limit=1e3", 400, "limit: \\\"1e3\\\" is not a number from 1 to 1000"),
        ("/api/children?path=/&after=%", 400, "after: is not encoded in UTF-8"),
        ("/api/children/../znode?path=/", 404, ""),
        ("/api/%2e%2e/commands/ruok", 404, ""),
        (&long, 404, "NoNode"),
        (&longer, 431, ""),
    ] {
        let answer = get(http, path);
        assert!(answer.status == status && answer.has(why), "{path}: {answer:?}");
    }
    let posted = exchange(
        http,
        b"POST /api/znode?path=/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(Answer::of(&posted).expect("an answer").status, 405);
}

/// Each setting is shown with what became of it, secrets as stars, and the defaults of the keys that have no setting.
#[test]
fn settings() {
    let _alone = alone();
    let (_server, http) = server(&[
        ("ssl.keyStore.password", "k3yst0re"),
        ("snapCount", "7777"),
        ("snapCuont", "5"),
        ("forceSync", "no"),
    ]);
    let answer = get(http, "/api/settings");
    for shown in [
        "\"key\" : \"snapCount\",\n    \"value\" : \"7777\"",
        "\"key\" : \"ssl.keyStore.password\",\n    \"value\" : \"***\"",
        "\"verdict\" : \"unknown\"",
        "did you mean snapCount?",
        "\"verdict\" : \"no effect\"",
        "\"key\" : \"autopurge.purgeInterval\",\n    \"value\" : \"1\"",
    ] {
        assert!(answer.has(shown), "{shown} is not in {answer:?}");
    }
    assert!(!answer.has("k3yst0re"), "{answer:?}");
    let alone = get(http, "/api/ensemble");
    assert!(alone.has("\"state\" : \"standalone\"") && alone.has("\"my_id\" : null"), "{alone:?}");
}
