//! The sources of a crate, parsed: every file that its root declares, without code that is compiled
//! only for tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Item};

/// One file of a crate.
pub struct Source {
    /// Its module, from the root of the crate; empty for the root.
    pub module: Vec<String>,
    /// Its path below the crate's `src`.
    pub file: String,
    /// The number of its lines.
    pub lines: usize,
    /// Its syntax tree, without code for tests.
    pub syntax: syn::File,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every crate of the workspace by the path of its root file, such as `tesd/src/main.rs`.
pub fn workspace() -> BTreeMap<String, Vec<Source>> {
    let mut crates = BTreeMap::new();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is there");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    for member in manifest["workspace"]["members"].as_array().expect("a list") {
        let name = member.as_str().expect("a path");
        let src = root().join(name).join("src");
        for file in ["lib.rs", "main.rs"].into_iter().filter(|file| src.join(file).is_file()) {
            let read = |path: &str| fs::read_to_string(src.join(path)).ok();
            crates.insert(format!("{name}/src/{file}"), of_crate(file, &read));
        }
    }
    assert!(crates.len() > 10, "the crates were found");
    crates
}

/// All files of the crate with this root file. `read` returns a file's text by its path below
/// `src`.
pub fn of_crate(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Source> {
    let mut waiting = vec![(Vec::new(), root.to_owned())];
    let mut sources = Vec::new();
    while let Some((module, file)) = waiting.pop() {
        let text = read(&file).unwrap_or_else(|| panic!("{file} is declared and not there"));
        let mut syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        WithoutTests.visit_file_mut(&mut syntax);
        for name in declared(&syntax.items) {
            let path: Vec<String> = module.iter().cloned().chain([name]).collect();
            let file = format!("{}.rs", path.join("/"));
            waiting.push((path, file));
        }
        sources.push(Source { module, file, lines: text.lines().count(), syntax });
    }
    sources.sort_by(|a, b| a.module.cmp(&b.module));
    sources
}

/// The modules that have files of their own.
fn declared(items: &[Item]) -> Vec<String> {
    let module = |item: &Item| match item {
        Item::Mod(module) if module.content.is_none() => Some(module.ident.to_string()),
        _ => None,
    };
    items.iter().filter_map(module).collect()
}

/// Removes code that is compiled only for tests.
struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !attributes(item).iter().any(is_for_tests));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !attributes(item).iter().any(is_for_tests));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        let is_test = |item: &syn::ImplItem| match item {
            syn::ImplItem::Fn(function) => function.attrs.iter().any(is_for_tests),
            _ => false,
        };
        block.items.retain(|item| !is_test(item));
        visit_mut::visit_item_impl_mut(self, block);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let cfg = attribute.path().is_ident("cfg").then(|| attribute.parse_args::<syn::Path>());
    cfg.is_some_and(|condition| condition.is_ok_and(|path| path.is_ident("test")))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
