//! The dependencies between the files of a crate: an arrow for each pair, with the place of its
//! first mention.
//!
//! A path leads to the file that defines the item, also through re-exports. Declaring a module or
//! re-exporting an item from below is not an arrow; using a re-exported item is one.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, ItemUse, UseTree, Visibility};

use crate::sources::Source;

/// A module's path from the root of its crate.
type Path = Vec<String>;

/// A mention of one file in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    /// The file with the mention.
    pub from: String,
    /// The file that it mentions.
    pub to: String,
    /// The line of the first mention, from 1.
    pub line: usize,
    /// The path as written.
    pub path: String,
}

/// Every arrow between two files of a crate, in the order of their names.
pub fn arrows(sources: &[Source]) -> Vec<Arrow> {
    let map = Map::of(sources);
    let mut arrows = BTreeMap::new();
    for source in sources {
        let mut mentions = Mentions { here: source.module.clone(), map: &map, found: Vec::new() };
        mentions.visit_file(&source.syntax);
        for (path, line) in mentions.found {
            let to = map.file_of(&path);
            if to != source.file {
                let (from, to, path) = (source.file.clone(), to.to_owned(), path.join("::"));
                let arrow = Arrow { from: from.clone(), to: to.clone(), line, path };
                arrows.entry((from, to)).or_insert(arrow);
            }
        }
    }
    arrows.into_values().collect()
}

/// What the modules of a crate consist of.
struct Map(BTreeMap<Path, Module>);

#[derive(Default)]
struct Module {
    /// The file of the module.
    file: String,
    children: Vec<String>,
    /// Names that are re-exports of other modules.
    reexports: BTreeMap<String, Path>,
}

impl Map {
    fn of(sources: &[Source]) -> Self {
        let mut map = Self(BTreeMap::new());
        for source in sources {
            map.add(&source.module, &source.file, &source.syntax.items);
        }
        for source in sources {
            map.add_reexports(&source.module, &source.syntax.items);
        }
        map
    }

    fn add(&mut self, module: &[String], file: &str, items: &[Item]) {
        let mut children = Vec::new();
        for item in items {
            let Item::Mod(child) = item else { continue };
            children.push(child.ident.to_string());
            if let Some((_, items)) = &child.content {
                self.add(&joined(module, [child.ident.to_string()]), file, items);
            }
        }
        let reexports = BTreeMap::new();
        self.0.insert(module.to_vec(), Module { file: file.to_owned(), children, reexports });
    }

    fn add_reexports(&mut self, module: &[String], items: &[Item]) {
        for item in items {
            match item {
                Item::Use(item) if !matches!(item.vis, Visibility::Inherited) => {
                    for leaf in leaves(&item.tree) {
                        if let Some(target) = self.absolute(module, &leaf.path) {
                            let names = &mut self.0.get_mut(module).expect("added").reexports;
                            names.insert(leaf.name, target);
                        }
                    }
                }
                Item::Mod(child) => {
                    if let Some((_, items)) = &child.content {
                        self.add_reexports(&joined(module, [child.ident.to_string()]), items);
                    }
                }
                _ => {}
            }
        }
    }

    /// A path as written in a module, from the root of the crate; `None` if it leads elsewhere.
    fn absolute(&self, here: &[String], path: &[String]) -> Option<Path> {
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (here.to_vec(), &path[1..]),
            "super" => (here.to_vec(), path),
            own if self.0[here].children.iter().any(|child| child == own) => (here.to_vec(), path),
            own if self.0[here].reexports.contains_key(own) => (here.to_vec(), path),
            _ => return None,
        };
        while rest.first().is_some_and(|name| name == "super") {
            base.pop();
            rest = &rest[1..];
        }
        Some(joined(&base, rest.iter().cloned()))
    }

    /// The file that defines the item of an absolute path.
    fn file_of(&self, path: &[String]) -> &str {
        let mut path = path.to_vec();
        // More re-exports in a row than any crate has.
        for _ in 0..16 {
            let mut at = 0;
            while at < path.len() && self.0.contains_key(&path[..=at]) {
                at += 1;
            }
            let module = &self.0[&path[..at]];
            match path.get(at).and_then(|name| module.reexports.get(name)) {
                Some(target) if target != &path => {
                    path = joined(target, path[at + 1..].iter().cloned());
                }
                _ => return &module.file,
            }
        }
        panic!("a re-export leads to itself: {path:?}");
    }
}

fn joined(base: &[String], rest: impl IntoIterator<Item = String>) -> Path {
    base.iter().cloned().chain(rest).collect()
}

/// One name that a `use` brings in.
struct Leaf {
    path: Path,
    name: String,
    span: Span,
}

fn leaves(tree: &UseTree) -> Vec<Leaf> {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let below = leaves(&path.tree).into_iter();
            below
                .map(|leaf| match leaf.path.as_slice() {
                    // `a::{self}` brings in `a`.
                    [only] if only == "self" => {
                        Leaf { path: vec![first.clone()], name: first.clone(), ..leaf }
                    }
                    rest => Leaf {
                        path: joined(std::slice::from_ref(&first), rest.iter().cloned()),
                        ..leaf
                    },
                })
                .collect()
        }
        UseTree::Name(name) => {
            let text = name.ident.to_string();
            vec![Leaf { path: vec![text.clone()], name: text, span: name.ident.span() }]
        }
        UseTree::Rename(rename) => vec![Leaf {
            path: vec![rename.ident.to_string()],
            name: rename.rename.to_string(),
            span: rename.ident.span(),
        }],
        UseTree::Glob(_) => panic!("wildcard imports are banned by a lint"),
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Collects the paths of one file that stay in its crate.
struct Mentions<'a> {
    here: Path,
    map: &'a Map,
    found: Vec<(Path, usize)>,
}

impl Mentions<'_> {
    fn mention(&mut self, path: &[String], span: Span) {
        if let Some(path) = self.map.absolute(&self.here, path) {
            self.found.push((path, span.start().line));
        }
    }

    /// Paths in the input of a macro, which is not parsed.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut begin, mut colons) = (Span::call_site(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path, begin);
                        begin = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.end(&mut path, begin);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.end(&mut path, begin);
    }

    fn end(&mut self, path: &mut Vec<String>, span: Span) {
        if path.len() > 1 {
            self.mention(path, span);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.here.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.here.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let passes_on = !matches!(item.vis, Visibility::Inherited);
        for leaf in leaves(&item.tree) {
            let below = self.map.absolute(&self.here, &leaf.path);
            let own = below.is_some_and(|path| path.starts_with(&self.here));
            if !(passes_on && own) {
                self.mention(&leaf.path, leaf.span);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Path = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // On its own, a child's name is that of a variable.
        let alone = |name| self.map.0[&self.here].reexports.contains_key(name);
        if path.leading_colon.is_none() && (names.len() > 1 || alone(&names[0])) {
            self.mention(&names, path.segments[0].ident.span());
        }
        visit::visit_path(self, path);
    }

    // `pub(super)` is not a use of the parent.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
