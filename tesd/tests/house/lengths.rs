//! Limits on the lengths of files and functions.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::sources::{of_crate, workspace};

/// Lines per file: the 90th percentile, and the longest.
const FILE_LINES: Limit = Limit { most: 400, longest: 800 };
/// The same for functions, from `fn` to the closing brace.
const FUNCTION_LINES: Limit = Limit { most: 30, longest: 60 };
/// Functions that are still to be divided: the file below the workspace, and the name. An entry
/// that is no longer needed must be removed.
const KNOWN_LONG_FUNCTIONS: &[(&str, &str)] = &[];

struct Limit {
    most: usize,
    longest: usize,
}

/// The length of one file or function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Length {
    lines: usize,
    file: String,
    /// The function; empty for a file.
    name: String,
}

/// Lengths in ascending order.
struct Lengths(Vec<Length>);

impl Lengths {
    fn of(mut all: Vec<Length>) -> Self {
        all.sort();
        Self(all)
    }

    /// The length that this percentage of entries does not exceed.
    fn percentile(&self, percent: usize) -> usize {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.max(1) - 1].lines
    }

    fn longer_than(&self, lines: usize) -> impl Iterator<Item = &Length> {
        self.0.iter().filter(move |length| length.lines > lines)
    }

    /// Percentiles and the longest, as text.
    fn summary(&self, what: &str) -> String {
        let (half, most, all) = (self.percentile(50), self.percentile(90), self.0.len());
        let mut text = format!("{all} {what}: p50 {half}, p90 {most} lines; the longest:\n");
        for Length { lines, file, name } in self.0.iter().rev().take(10) {
            text += &format!("  {lines} {file} {name}\n");
        }
        text
    }
}

/// The functions of one file.
struct Functions<'a> {
    file: &'a str,
    found: Vec<Length>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span().start().line;
        let last = block.brace_token.span.close().end().line;
        let (file, name) = (self.file.to_owned(), signature.ident.to_string());
        self.found.push(Length { lines: last - first + 1, file, name });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn functions(file: &str, syntax: &syn::File) -> Vec<Length> {
    let mut functions = Functions { file, found: Vec::new() };
    functions.visit_file(syntax);
    functions.found
}

#[test]
fn files_and_functions_are_short() {
    let (mut files, mut all) = (Vec::new(), Vec::new());
    for (root, sources) in workspace() {
        let folder = root.rsplit_once('/').expect("in a folder").0;
        for source in sources {
            let file = format!("{folder}/{}", source.file);
            all.extend(functions(&file, &source.syntax));
            files.push(Length { lines: source.lines, file, name: String::new() });
        }
    }
    let (files, functions) = (Lengths::of(files), Lengths::of(all));
    let summary = files.summary("files") + &functions.summary("functions");
    eprint!("{summary}");
    assert!(files.percentile(90) <= FILE_LINES.most, "{summary}");
    assert_eq!(files.longer_than(FILE_LINES.longest).count(), 0, "{summary}");
    assert!(functions.percentile(90) <= FUNCTION_LINES.most, "{summary}");
    let long: Vec<_> = functions
        .longer_than(FUNCTION_LINES.longest)
        .map(|length| (length.file.as_str(), length.name.as_str()))
        .collect();
    let new: Vec<_> = long.iter().filter(|f| !KNOWN_LONG_FUNCTIONS.contains(f)).collect();
    assert!(new.is_empty(), "more than {} lines: {new:#?}", FUNCTION_LINES.longest);
    let gone: Vec<_> = KNOWN_LONG_FUNCTIONS.iter().filter(|f| !long.contains(f)).collect();
    assert!(gone.is_empty(), "these are short now, and their entries must go: {gone:#?}");
}

#[test]
fn lines_are_counted_from_the_word_fn_to_the_closing_brace() {
    let text = "/// Says something.\n#[must_use]\npub fn short() {}\n\nimpl A {\n    fn three(\n        \
                self) {\n        let c = || { fn inner() {\n        } };\n    }\n}\n\
                trait B { fn none(); fn one() {} }\n\
                #[cfg(test)]\nmod tests {\n    fn test() {}\n}\n";
    let sources = of_crate("lib.rs", &|_| Some(text.to_owned()));
    let [source] = &sources[..] else { panic!("one file") };
    assert_eq!(source.lines, 16);
    let found = functions("lib.rs", &source.syntax);
    let found: Vec<_> = found.iter().map(|length| (length.name.as_str(), length.lines)).collect();
    assert_eq!(found, [("short", 1), ("three", 5), ("inner", 2), ("one", 1)]);
}

#[test]
fn percentiles_are_lengths_that_exist() {
    let length = |lines| Length { lines, file: String::new(), name: String::new() };
    let lengths = Lengths::of([5, 1, 3, 2, 4, 10, 9, 8, 7, 60].map(length).to_vec());
    assert_eq!((lengths.percentile(50), lengths.percentile(90)), (5, 10));
    assert_eq!(lengths.longer_than(9).map(|length| length.lines).collect::<Vec<_>>(), [10, 60]);
    assert!(lengths.summary("files").starts_with("10 files: p50 5, p90 10 lines"));
}
