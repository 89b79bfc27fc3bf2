//! The pieces of a page: one file with its styles and its script in it, which loads nothing.

use std::fmt::Write;

use super::style;
use super::text::escape;
use crate::record::{Host, Verdict};

const SCRIPT: &str = include_str!("page.js");

/// A page in the making; whatever is put into it as text is escaped.
pub(super) struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page, whose first heading is its title.
    pub(super) fn new(title: &str, verdict: Verdict) -> Self {
        let (class, word) = match verdict {
            Verdict::Clean => ("good", "no faults"),
            Verdict::Faults => ("bad", "faults"),
        };
        let title = escape(title);
        let body = format!("<h1>{title} <span class=\"badge {class}\">{word}</span></h1>\n");
        Self { title, body }
    }

    /// A heading.
    pub(super) fn heading(&mut self, text: &str) {
        self.put(format_args!("<h2>{}</h2>\n", escape(text)));
    }

    /// A paragraph in small letters.
    pub(super) fn remark(&mut self, text: &str) {
        self.put(format_args!("<p class=\"soft\">{}</p>\n", escape(text)));
    }

    /// What was typed.
    pub(super) fn code(&mut self, text: &str) {
        self.put(format_args!("<p><code>{}</code></p>\n", escape(text)));
    }

    /// The figures that matter most, each with what it is.
    pub(super) fn tiles(&mut self, tiles: &[(String, String)]) {
        self.body.push_str("<div class=\"tiles\">");
        for (figure, label) in tiles {
            self.put(format_args!(
                "<div class=\"tile\"><b>{}</b><span>{}</span></div>",
                escape(figure),
                escape(label)
            ));
        }
        self.body.push_str("</div>\n");
    }

    /// What a reader must know first; nothing where there is nothing.
    pub(super) fn warnings(&mut self, warnings: &[String]) {
        if warnings.is_empty() {
            return;
        }
        self.body.push_str("<div class=\"warnings\">");
        for warning in warnings {
            self.put(format_args!("<p>{}</p>", escape(warning)));
        }
        self.body.push_str("</div>\n");
    }

    /// Plots side by side, as far as there is room, each with its title.
    pub(super) fn plots(&mut self, plots: &[(&str, String)]) {
        self.body.push_str("<div class=\"plots\">\n");
        for (title, svg) in plots {
            self.put(format_args!("<figure><h3>{}</h3>{svg}</figure>\n", escape(title)));
        }
        self.body.push_str("</div>\n");
    }

    /// A table; its first column is text, the others are figures, whose parts stand below each other.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) {
        self.body.push_str("<div class=\"scroll\"><table>\n");
        for (at, row) in rows.iter().enumerate() {
            let tag = if at == 0 { "th" } else { "td" };
            self.body.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let cell = escape(cell);
                match column {
                    0 => self.put(format_args!("<{tag}>{cell}</{tag}>")),
                    _ => self.put(format_args!("<{tag} class=\"number\">{}</{tag}>", parts(&cell))),
                }
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</table></div>\n");
    }

    /// Names and what they stand for, one in each line.
    pub(super) fn list(&mut self, rows: &[(String, String)]) {
        self.body.push_str("<div class=\"scroll\"><table>\n");
        for (name, text) in rows {
            self.put(format_args!("<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(text)));
        }
        self.body.push_str("</table></div>\n");
    }

    /// Where it was measured.
    pub(super) fn environment(&mut self, host: &Host, more: &[(String, String)]) {
        self.heading("Environment");
        let cores = format!("{} of {}, this process may use {}", host.cores, host.cpu, host.cores_allowed);
        let mut rows = vec![
            ("machine".to_owned(), host.name.clone()),
            ("processors".to_owned(), cores),
            ("kernel".to_owned(), host.kernel.clone()),
            ("TCP congestion control".to_owned(), host.tcp_congestion_control.clone()),
        ];
        rows.extend_from_slice(more);
        self.list(&rows);
    }

    /// The whole page.
    pub(super) fn written(self) -> String {
        let Self { title, body } = self;
        let (plot, page) = (style::PLOT, style::PAGE);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <link rel=\"icon\" href=\"data:,\">\n\
             <title>{title}</title>\n<style>\n{plot}{page}</style>\n</head>\n<body>\n{body}\
             <script type=\"module\">\n{SCRIPT}</script>\n</body>\n</html>\n"
        )
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        self.body.write_fmt(what).expect("memory takes every byte");
    }
}

/// A figure of several parts, such as `52 µs = 19,087/s`, with each part on a line.
fn parts(cell: &str) -> String {
    cell.replace(", ", ",<br>").replace(" = ", "<br>= ")
}
