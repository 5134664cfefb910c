//! Method and path into what is asked. It knows no socket and no server.

use hyper::Method;
use std::borrow::Cow;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: what there is.
    Index,
    /// `/live`
    Live,
    /// `/ready`
    Ready,
    /// `/startup`
    StartUp,
    /// `/metrics`: a page for Prometheus.
    Metrics {
        /// The samples to show; all if there are none.
        names: Vec<String>,
    },
    /// `/console/NAME`: a file of the console.
    Console {
        /// Decoded.
        name: String,
    },
    /// `/api/...`: what the console asks beside commands and metrics.
    Api {
        /// What.
        subject: Subject,
        /// The query that goes with it, as it came.
        query: String,
    },
    /// The commands, as links.
    Links,
    /// A command, by the name that was typed.
    Command {
        /// Decoded.
        name: String,
        /// The query that goes with it, as it came.
        query: String,
        /// Whether it came by POST.
        is_post: bool,
    },
    /// What the methods of a path are.
    Options,
    /// There is no such path.
    NotFound,
    /// The path is not encoded as it must be.
    BadPath,
    /// The path does not know this method; with those that it knows.
    NotAllowed(&'static str),
    /// TRACE, everywhere.
    Forbidden,
    /// A method that no path knows.
    NotImplemented,
}

/// What the console asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `znode`: one znode.
    Znode,
    /// `children`: some of its children.
    Children,
    /// `settings`: what became of each setting.
    Settings,
    /// `ensemble`: the servers, as this one knows them.
    Ensemble,
}

/// Methods of the paths of commands, as Java lists them.
pub const COMMAND_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// Methods of other paths.
pub const PAGE_METHODS: &str = "GET, HEAD";

/// The page for Prometheus. Source: `PrometheusMetricsProvider`.
const METRICS_PATH: &str = "/metrics";

/// What a request asks of the port for metrics alone, which has no other page.
pub fn metrics_route(method: &Method, path: &str, query: Option<&str>) -> Route {
    if path == METRICS_PATH { route(method, path, query, "") } else { Route::NotFound }
}

/// What a request asks; `command_url` is the path of the commands, such as `/commands`.
pub fn route(method: &Method, path: &str, query: Option<&str>, command_url: &str) -> Route {
    if method == Method::TRACE {
        return Route::Forbidden;
    }
    // What follows a semicolon are parameters of the path, which mean nothing here either.
    let path = path.split(';').next().unwrap_or(path);
    let Some(path) = decoded(path, Plus::Stays) else { return Route::BadPath };
    let page = match &*path {
        "/" => Some(Route::Index),
        "/live" => Some(Route::Live),
        "/ready" => Some(Route::Ready),
        "/startup" => Some(Route::StartUp),
        METRICS_PATH => Some(Route::Metrics { names: parameters(query.unwrap_or(""), "name[]").collect() }),
        "/api/znode" => Some(api(Subject::Znode, query)),
        "/api/children" => Some(api(Subject::Children, query)),
        "/api/ensemble" => Some(api(Subject::Ensemble, query)),
        "/api/settings" => Some(api(Subject::Settings, query)),
        path => path.strip_prefix("/console/").map(|name| Route::Console { name: name.to_owned() }),
    };
    if let Some(page) = page {
        let is_known = method == Method::GET || method == Method::HEAD;
        return if is_known { page } else { Route::NotAllowed(PAGE_METHODS) };
    }
    let Some(rest) = path.strip_prefix(command_url.trim_end_matches('/')) else { return Route::NotFound };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Route::NotFound;
    }
    let is_post = match *method {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        Method::OPTIONS => return Route::Options,
        Method::PUT | Method::DELETE => return Route::NotAllowed(COMMAND_METHODS),
        _ => return Route::NotImplemented,
    };
    match rest.strip_prefix('/').unwrap_or(rest) {
        "" => Route::Links,
        name => Route::Command { name: name.to_owned(), query: query.unwrap_or("").to_owned(), is_post },
    }
}

fn api(subject: Subject, query: Option<&str>) -> Route {
    Route::Api { subject, query: query.unwrap_or("").to_owned() }
}

/// The value of a parameter is not encoded in UTF-8 and `%XX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEncoding;

/// The first value of a parameter of a query; one that is not encoded as it must be counts as none.
pub fn parameter(query: &str, wanted: &str) -> Option<String> {
    parameters(query, wanted).next()
}

/// The first value of a parameter of a query.
///
/// # Errors
/// [`BadEncoding`] where it cannot be decoded.
pub fn parameter_or_error(query: &str, wanted: &str) -> Result<Option<String>, BadEncoding> {
    let first = encoded_parameters(query, wanted).next();
    let decode = |value| decoded(value, Plus::IsBlank).map(Cow::into_owned).ok_or(BadEncoding);
    first.map(decode).transpose()
}

/// All values of a parameter of a query.
fn parameters<'a>(query: &'a str, wanted: &'a str) -> impl Iterator<Item = String> + 'a {
    let values = encoded_parameters(query, wanted);
    values.filter_map(|value| decoded(value, Plus::IsBlank).map(Cow::into_owned))
}

fn encoded_parameters<'a>(query: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    query.split('&').filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name, Plus::IsBlank)? == wanted).then_some(value)
    })
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Stays,
    IsBlank,
}

/// Without percent signs; `None` where one is not followed by two hexadecimal digits, or the bytes are no UTF-8.
fn decoded(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let (&[high, low], after) = rest.split_first_chunk()?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            b'+' if plus == Plus::IsBlank => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Route {
        route(&Method::GET, path, None, "/commands")
    }

    fn command(name: &str) -> Route {
        Route::Command { name: name.to_owned(), query: String::new(), is_post: false }
    }

    /// Each path leads where it should, and no path trick to anywhere else.
    #[test]
    fn paths() {
        for (path, expected) in [
            ("/", Route::Index),
            ("/live", Route::Live),
            ("/ready", Route::Ready),
            ("/startup", Route::StartUp),
            ("/commands", Route::Links),
            ("/commands/", Route::Links),
            ("/commands/ruok", command("ruok")),
            ("/commands/%72uok", command("ruok")),
            ("/commands/RUOK", command("RUOK")),
            ("/commands/ruok;x=1", command("ruok")),
            ("/commands/ruok%3Bx", command("ruok;x")),
            ("/commands/a/b", command("a/b")),
            ("/commands//ruok", command("/ruok")),
            ("/commands/../live", command("../live")),
            ("/commands/%2e%2e/live", command("../live")),
            ("/commands/%00", command("\0")),
            ("/commands/a+b", command("a+b")),
            ("/console/console.css", Route::Console { name: "console.css".to_owned() }),
            ("/console/%2e%2e/%2e%2e/etc/passwd", Route::Console { name: "../../etc/passwd".to_owned() }),
            ("/console", Route::NotFound),
            ("/api/znode", api(Subject::Znode, None)),
            ("/api/children", api(Subject::Children, None)),
            ("/api/settings", api(Subject::Settings, None)),
            ("/api/znode/", Route::NotFound),
            ("/api", Route::NotFound),
            ("/commandsx", Route::NotFound),
            ("/live/", Route::NotFound),
            ("/etc/passwd", Route::NotFound),
            ("//", Route::NotFound),
            ("", Route::NotFound),
            ("*", Route::NotFound),
            ("/commands/%", Route::BadPath),
            ("/commands/%4", Route::BadPath),
            ("/commands/%zz", Route::BadPath),
            ("/commands/%ff", Route::BadPath),
        ] {
            assert_eq!(get(path), expected, "{path}");
        }
        assert_eq!(route(&Method::GET, "/ruok", None, "/"), command("ruok"), "commands at the root");
        assert_eq!(route(&Method::GET, "/live", None, "/"), Route::Live);
    }

    /// Methods are refused as a servlet refuses them.
    #[test]
    fn methods() {
        let ask = |method: &Method, path| route(method, path, None, "/commands");
        assert_eq!(ask(&Method::HEAD, "/commands/ruok"), command("ruok"));
        let posted = Route::Command { name: "ruok".to_owned(), query: String::new(), is_post: true };
        assert_eq!(ask(&Method::POST, "/commands/ruok"), posted);
        assert_eq!(ask(&Method::POST, "/commands"), Route::Links);
        assert_eq!(ask(&Method::PUT, "/commands/ruok"), Route::NotAllowed(COMMAND_METHODS));
        assert_eq!(ask(&Method::DELETE, "/commands/ruok"), Route::NotAllowed(COMMAND_METHODS));
        assert_eq!(ask(&Method::OPTIONS, "/commands/ruok"), Route::Options);
        assert_eq!(ask(&Method::PATCH, "/commands/ruok"), Route::NotImplemented);
        assert_eq!(ask(&Method::POST, "/ready"), Route::NotAllowed(PAGE_METHODS));
        for path in ["/", "/live", "/commands/ruok", "/nope"] {
            assert_eq!(ask(&Method::TRACE, path), Route::Forbidden);
        }
    }

    /// The page of metrics is on both ports, with the names that are asked for; one of them has nothing else.
    #[test]
    fn metrics() {
        let names =
            |names: &[&str]| Route::Metrics { names: names.iter().map(|name| (*name).to_owned()).collect() };
        let query = Some("name[]=uptime&name%5B%5D=znode_count&other=1");
        assert_eq!(route(&Method::GET, "/metrics", query, "/commands"), names(&["uptime", "znode_count"]));
        assert_eq!(metrics_route(&Method::GET, "/metrics", None), names(&[]));
        assert_eq!(metrics_route(&Method::POST, "/metrics", None), Route::NotAllowed(PAGE_METHODS));
        for path in ["/", "/live", "/metrics/", "/commands/ruok"] {
            assert_eq!(metrics_route(&Method::GET, path, None), Route::NotFound, "{path}");
        }
    }

    /// The first value of a parameter counts, decoded.
    #[test]
    fn parameters() {
        for (query, expected) in [
            ("traceMask=306", Some("306")),
            ("a=1&traceMask=5&traceMask=6", Some("5")),
            ("trace%4Dask=%35", Some("5")),
            ("traceMask", Some("")),
            ("traceMask=a+b", Some("a b")),
            ("traceMask=%", None),
            ("tracemask=5", None),
            ("", None),
            ("&&=&=5", None),
        ] {
            assert_eq!(parameter(query, "traceMask").as_deref(), expected, "{query}");
        }
        assert_eq!(parameter_or_error("path=/a%2Fb&path=%", "path"), Ok(Some("/a/b".to_owned())));
        assert_eq!(parameter_or_error("path=%ff&path=/a", "path"), Err(BadEncoding));
        assert_eq!(parameter_or_error("after=x", "path"), Ok(None));
    }
}
