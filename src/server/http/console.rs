//! The files of the console, which are parts of the program: a page needs nothing from anywhere else.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, VARY};

const CSS: &str = "text/css;charset=utf-8";
const SCRIPT: &str = "text/javascript;charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What is served at `/`.
pub const PAGE: &str = include_str!("console/index.html");

/// What a browser may do with a page: load scripts, styles and answers from this port, and nothing from elsewhere; run no
/// script and take no style that stands in the page itself; show it in no frame; tell no other site where a click came from.
pub const HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // For browsers that do not know frame-ancestors.
    (HeaderName::from_static("x-frame-options"), "DENY"),
    // What `/` answers depends on it.
    (VARY, "Accept"),
];

/// The content type and the text of a file of the page.
pub fn file(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "console.css" => (CSS, include_str!("console/console.css")),
        "icon.svg" => (SVG, include_str!("console/icon.svg")),
        "main.js" => (SCRIPT, include_str!("console/main.js")),
        "page.js" => (SCRIPT, include_str!("console/page.js")),
        "server.js" => (SCRIPT, include_str!("console/server.js")),
        "metrics.js" => (SCRIPT, include_str!("console/metrics.js")),
        "chart.js" => (SCRIPT, include_str!("console/chart.js")),
        "overview.js" => (SCRIPT, include_str!("console/overview.js")),
        "charts.js" => (SCRIPT, include_str!("console/charts.js")),
        "tree.js" => (SCRIPT, include_str!("console/tree.js")),
        "sessions.js" => (SCRIPT, include_str!("console/sessions.js")),
        "settings.js" => (SCRIPT, include_str!("console/settings.js")),
        "slow.js" => (SCRIPT, include_str!("console/slow.js")),
        _ => return None,
    })
}

/// True for the `Accept` of a browser; tools accept anything, or say nothing.
pub fn wants_page(accept: &[u8]) -> bool {
    accept.split(|byte| matches!(byte, b',' | b';')).any(|kind| kind.trim_ascii() == b"text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A browser gets the page, a tool the list.
    #[test]
    fn who_gets_the_page() {
        assert!(wants_page(b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants_page(b"application/json, text/html;q=0.5"));
        for accept in [&b""[..], b"*/*", b"application/json", b"text/htmlx", b"text/plain"] {
            assert!(!wants_page(accept), "{accept:?}");
        }
    }
}
