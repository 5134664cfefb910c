//! An HTML page that needs nothing beside it: no script, no font, no network.

use crate::report::plot::{Chart, Tone, Width};
use std::fmt::Write as _;

/// The style sheet, for the light and the dark scheme.
const STYLE: &str = include_str!("page.css");

/// A page; each call appends to it.
#[derive(Debug)]
pub struct Page {
    title: String,
    body: String,
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Text, at the left.
    Text(String),
    /// A figure, at the right.
    Number(String),
    /// The figure that matters most in its row.
    Strong(String),
    /// A range on a line with a mark. Positions are shares of the length of the line, 0 to 1.
    Range {
        /// Start of the range.
        least: f64,
        /// Its median.
        median: f64,
        /// End of the range.
        greatest: f64,
        /// The mark, where a ratio is 1.
        mark: f64,
        /// Decides its colour.
        verdict: Verdict,
    },
}

/// Whether a difference is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is one in every round.
    Better,
    /// It is the opposite in every round.
    Worse,
    /// The rounds disagree.
    Open,
}

impl Verdict {
    fn class(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Open => "open",
        }
    }
}

/// One of the large figures at the top.
#[derive(Clone, Debug)]
pub struct Card {
    /// Name of the figure.
    pub label: String,
    /// The figure with its unit.
    pub value: String,
    /// A second figure to compare it with.
    pub note: String,
}

impl Page {
    /// A page with a title and a sentence below it.
    pub fn new(title: &str, lead: &str) -> Self {
        let (title, lead) = (escaped(title), escaped(lead));
        let body = format!("<header><h1>{title}</h1><p>{lead}</p></header>\n");
        Self { title, body }
    }

    /// Appends the heading of a section.
    pub fn heading(&mut self, text: &str) {
        self.put(format_args!("<h2>{}</h2>\n", escaped(text)));
    }

    /// Appends a paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>\n", escaped(text)));
    }

    /// Appends a sentence that the reader must notice.
    pub fn warning(&mut self, text: &str) {
        self.put(format_args!("<p class=warning>{}</p>\n", escaped(text)));
    }

    /// Appends the large figures.
    pub fn cards(&mut self, cards: &[Card]) {
        self.body.push_str("<div class=cards>");
        for Card { label, value, note } in cards {
            self.put(format_args!(
                "<div class=card><span>{}</span><strong>{}</strong><small>{}</small></div>",
                escaped(label),
                escaped(value),
                escaped(note)
            ));
        }
        self.body.push_str("</div>\n");
    }

    /// Appends a table; headings of figures are at the right, as the figures are.
    pub fn table(&mut self, headings: &[&str], rows: &[Vec<Cell>]) {
        self.body.push_str("<div class=wide><table><thead><tr>");
        for (column, heading) in headings.iter().enumerate() {
            let words = rows.iter().all(|row| matches!(row.get(column), Some(Cell::Text(_)) | None));
            let class = if words { "" } else { " class=n" };
            self.put(format_args!("<th{class}>{}</th>", escaped(heading)));
        }
        self.body.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for cell in row {
                match cell {
                    Cell::Text(text) => self.put(format_args!("<td>{}</td>", escaped(text))),
                    Cell::Number(text) => self.put(format_args!("<td class=n>{}</td>", escaped(text))),
                    Cell::Strong(text) => {
                        self.put(format_args!("<td class=n><strong>{}</strong></td>", escaped(text)));
                    }
                    Cell::Range { least, median, greatest, mark, verdict } => {
                        let percent = |share: &f64| share.clamp(0.0, 1.0) * 100.0;
                        self.put(format_args!(
                            "<td class=range><div class={}><s style=\"left:{:.2}%\"></s>\
                             <i style=\"left:{:.2}%;width:{:.2}%\"></i><b style=\"left:{:.2}%\"></b></div></td>",
                            verdict.class(),
                            percent(mark),
                            percent(least),
                            percent(greatest) - percent(least),
                            percent(median),
                        ));
                    }
                }
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// Appends charts with title, note and legend, beside each other if the window is wide enough. `scale` says whether
    /// they share the vertical scale.
    pub fn figures(&mut self, charts: &[(&str, &str, Chart)], scale: SameScale) {
        let to = charts.iter().map(|(_, _, chart)| chart.greatest()).fold(0.0, f64::max);
        let to = if scale == SameScale::Yes { to } else { 0.0 };
        let width = if charts.len() == 1 { Width::Whole } else { Width::Half };
        self.body.push_str("<div class=figures>\n");
        for (title, note, chart) in charts {
            let class = if width == Width::Whole { " class=whole" } else { "" };
            self.put(format_args!("<figure{class}><figcaption><b>{}</b>", escaped(title)));
            // Two lines of the same name and colour have one entry in the legend.
            let mut named: Vec<(&str, Tone)> = Vec::new();
            for line in &chart.lines {
                if !named.contains(&(&line.name, line.tone)) {
                    named.push((&line.name, line.tone));
                }
            }
            for (name, tone) in named {
                self.put(format_args!("<span class={}>{}</span>", tone.class(), escaped(name)));
            }
            self.put(format_args!("</figcaption>{}", chart.svg(to, width)));
            if !note.is_empty() {
                self.put(format_args!("<p>{}</p>", escaped(note)));
            }
            self.body.push_str("</figure>\n");
        }
        self.body.push_str("</div>\n");
    }

    /// Appends a list of names and values.
    pub fn facts(&mut self, facts: &[(String, String)]) {
        self.body.push_str("<dl>");
        for (name, value) in facts {
            self.put(format_args!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value)));
        }
        self.body.push_str("</dl>\n");
    }

    /// Appends text that the reader can unfold.
    pub fn folded(&mut self, title: &str, text: &str) {
        self.put(format_args!(
            "<details><summary>{}</summary><pre>{}</pre></details>\n",
            escaped(title),
            escaped(text)
        ));
    }

    /// The whole page.
    pub fn html(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
             <meta name=color-scheme content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
            self.title, self.body
        )
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.body.write_fmt(text).expect("a String takes all");
    }
}

/// Whether charts beside each other have the same vertical scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameScale {
    /// Yes: they show the same quantity.
    Yes,
    /// No: they show different quantities.
    No,
}

/// Text with escapes, for use between tags and in attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::axis::Scale;
    use crate::report::plot::Line;

    /// The page has its text escaped, every row and a legend per name, and refers to nothing outside itself.
    #[test]
    fn holds_what_it_was_told_and_nothing_from_elsewhere() {
        let mut page = Page::new("a <b> & \"c\"", "lead");
        page.table(&["row", "value"], &[vec![Cell::Text("p50 <us>".into()), Cell::Number("12".into())]]);
        page.facts(&[("kernel".into(), "6.1 & more".into())]);
        let line = |name: &str, tone| Line { name: name.into(), tone, points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let lines = vec![line("one", Tone::A), line("one", Tone::A), line("two's", Tone::B)];
        let chart = Chart { x: (Scale::Seconds, "s"), y: (Scale::Count, "n"), lines };
        page.figures(&[("plot", "note", chart)], SameScale::No);
        page.folded("raw", "{\"x\":1}");
        let html = page.html();
        for part in [
            "<title>a &lt;b&gt; &amp; &quot;c&quot;</title>",
            "<th>row</th><th class=n>value</th>",
            "<td>p50 &lt;us&gt;</td><td class=n>12</td>",
            "<dd>6.1 &amp; more</dd>",
            "<span class=a>one</span><span class=b>two&#39;s</span></figcaption><svg",
            "<pre>{&quot;x&quot;:1}</pre>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
        for word in ["http", "<script", "<link", "@import", "url("] {
            assert!(!elsewhere.contains(word), "{word}");
        }
    }
}
