//! Errors of the workspace's own crates are matched without a wildcard, so that a new variant needs a
//! code and a hint before it compiles. `#[non_exhaustive]` would force a wildcard in other crates.

use syn::visit::{self, Visit};

use super::sources::workspace;

/// The names of enums that are marked `#[non_exhaustive]`.
struct NonExhaustive(Vec<String>);

impl<'ast> Visit<'ast> for NonExhaustive {
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("non_exhaustive")) {
            self.0.push(item.ident.to_string());
        }
        visit::visit_item_enum(self, item);
    }
}

fn non_exhaustive(file: &syn::File) -> Vec<String> {
    let mut found = NonExhaustive(Vec::new());
    found.visit_file(file);
    found.0
}

#[test]
fn no_error_forces_a_wildcard_on_those_who_match_it() {
    for (root, sources) in workspace() {
        for source in sources {
            let errors = non_exhaustive(&source.syntax).into_iter();
            let errors: Vec<_> = errors.filter(|name| name.ends_with("Error")).collect();
            assert!(errors.is_empty(), "{root}, {:?}: {errors:?}", source.module);
        }
    }
}

#[test]
fn a_marked_enum_is_found_also_in_a_module() {
    let text = "mod inner { #[non_exhaustive] pub enum ReadError { Gone } } pub enum Other { One }";
    assert_eq!(non_exhaustive(&syn::parse_file(text).unwrap()), ["ReadError"]);
}
