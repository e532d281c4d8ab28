//! INDEX.txt and INDEX.html: the table of contents of a capsule, for people who open it with
//! nothing but a viewer of texts, or with a browser. Neither says when the capsule was made, so that
//! the same folder gives the same files.

use tesseras_core::append::Append as _;
use tesseras_core::words::{printable, size};

use crate::dates::{Date, DateSource};
use crate::meta::{Meta, Place};

/// The longest beginning of a text that is shown, in characters.
pub(crate) const MAX_EXCERPT: usize = 300;
/// About what one memory adds to both files, in bytes.
pub(crate) const ENTRY_BYTES: u64 = 1024;

/// One memory in the index.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its directory in the capsule.
    directory: String,
    /// The extension of its file.
    extension: &'static str,
    original: String,
    mime: &'static str,
    bytes: u64,
    date: Option<Date>,
    place: Option<Place>,
    modified: Option<String>,
    caption: Option<String>,
    /// The path of the text beside it.
    has_context: bool,
    excerpt: Option<String>,
}

impl Entry {
    /// The entry of a memory; `beginning` is that of the text beside it, or its own if it is a text.
    pub fn new(
        directory: &str,
        (extension, mime): (&'static str, &'static str),
        meta: &Meta,
        beginning: &str,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            extension,
            original: printable(&meta.original),
            mime,
            bytes: meta.bytes,
            date: meta.date.clone(),
            place: meta.place,
            modified: meta.modified.clone(),
            caption: meta.caption.as_deref().map(shortened),
            has_context: meta.context.is_some(),
            excerpt: Some(shortened(beginning)).filter(|text| !text.is_empty()),
        }
    }

    fn media(&self) -> String {
        format!("{}/media.{}", self.directory, self.extension)
    }

    /// What is known of it: labels and values.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let mut fact = |label, value: Option<String>| facts.extend(value.map(|v| (label, v)));
        fact("shows", self.caption.clone());
        fact(if self.has_context { "about it" } else { "begins" }, self.excerpt.clone());
        fact("date", Some(date_in_words(self.date.as_ref())));
        fact("place", self.place.map(place_in_words));
        let day = self.modified.as_deref().map(|modified| modified.get(..10).unwrap_or(modified));
        fact("file changed", day.map(|day| format!("{day} (not the date of the photo or film)")));
        fact("kind", Some(format!("{}, {}", self.mime, size(self.bytes))));
        facts
    }
}

/// The beginning of a text, on one line, for every screen.
fn shortened(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let beginning: String = line.chars().take(MAX_EXCERPT).collect();
    let shown = printable(beginning.trim_end());
    if beginning.len() < line.len() { format!("{shown} ...") } else { shown }
}

fn date_in_words(date: Option<&Date>) -> String {
    let Some(date) = date else { return "not known".to_owned() };
    let source = match date.source {
        DateSource::Camera => "by the camera's clock",
        DateSource::FileName => "from the name of the file",
        DateSource::FolderName => "from the name of its folder",
    };
    format!("{} ({source})", date.value.replacen('T', " ", 1))
}

fn place_in_words(place: Place) -> String {
    let side = |degrees: f64, positive, negative| if degrees < 0.0 { negative } else { positive };
    format!(
        "{} {}, {} {} (degrees, by the camera)",
        place.latitude.abs(),
        side(place.latitude, "north", "south"),
        place.longitude.abs(),
        side(place.longitude, "east", "west"),
    )
}

/// The text of INDEX.txt, in parts.
pub(crate) fn text<'a>(title: &'a str, entries: &'a [Entry]) -> impl Iterator<Item = String> + 'a {
    let title = printable(title);
    let rule = "=".repeat(title.chars().count());
    let head = format!(
        "{title}\n{rule}\n\nWhat is remembered here, one memory after another. README.txt says \
         how to read the\nfiles and how to check them.\n\nMemories: {}\n",
        entries.len()
    );
    std::iter::once(head).chain(entries.iter().enumerate().map(|(at, entry)| {
        let mut out = format!("\n{}. {}\n", at + 1, entry.original);
        line(&mut out, "file", &entry.media());
        if entry.has_context {
            line(&mut out, "text", &format!("{}/context.txt", entry.directory));
        }
        for (label, value) in entry.facts() {
            line(&mut out, label, &value);
        }
        out
    }))
}

fn line(out: &mut String, label: &str, value: &str) {
    out.append_line(format_args!("   {label}: {value}"));
}

const HTML_HEAD: &str = "\
<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<style>
body { font-family: serif; max-width: 45em; margin: 1em auto; padding: 0 1em; }
li { margin: 1.5em 0; }
img { max-width: 100%; max-height: 20em; }
dt { float: left; clear: left; width: 7em; color: #555; }
dd { margin-left: 7.5em; }
</style>
";

/// The text of INDEX.html, in parts. No scripts, and nothing from elsewhere.
pub(crate) fn html<'a>(title: &'a str, entries: &'a [Entry]) -> impl Iterator<Item = String> + 'a {
    let title = escaped(title);
    let head = format!(
        "{HTML_HEAD}<title>{title}</title>\n</head>\n<body>\n<h1 dir=\"auto\">{title}</h1>\n<p>What \
         is remembered here, one memory after another. <a href=\"README.txt\">README.txt</a> says \
         how to read the files and how to check them.</p>\n<ol>\n"
    );
    let items = entries.iter().map(html_item);
    std::iter::once(head).chain(items).chain(["</ol>\n</body>\n</html>\n".to_owned()])
}

fn html_item(entry: &Entry) -> String {
    let (media, original) = (entry.media(), escaped(&entry.original));
    let mut out = format!("<li><a href=\"{media}\" dir=\"auto\">{original}</a>");
    // Those that browsers have shown for decades.
    if matches!(entry.extension, "jpg" | "png" | "gif" | "webp" | "avif" | "bmp") {
        let img = "<br>\n<img loading=\"lazy\"";
        out.append(format_args!("{img} alt=\"{original}\" src=\"{media}\">"));
    }
    out.push_str("\n<dl>\n");
    if entry.has_context {
        let path = format!("{}/context.txt", entry.directory);
        fact(&mut out, "text", &format!("<a href=\"{path}\">context.txt</a>"));
    }
    for (label, value) in entry.facts() {
        fact(&mut out, label, &escaped(&value));
    }
    out.push_str("</dl></li>\n");
    out
}

fn fact(out: &mut String, label: &str, html: &str) {
    out.append_line(format_args!("<dt>{label}</dt><dd dir=\"auto\">{html}</dd>"));
}

/// A text in which nothing is markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
