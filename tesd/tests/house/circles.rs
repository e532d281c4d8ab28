//! Between the files of a crate, dependencies point only down: no file depends on itself through
//! others. And there is one style of module files: `config.rs` beside `config/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::map::{Arrow, arrows};
use crate::sources::{of_crate, root, workspace};

/// Circles that are still to be removed: the crate's root file, and the files on the circle. An
/// entry that is no longer needed must be removed.
const KNOWN_CIRCLES: &[(&str, &[&str])] = &[];

/// Groups of files that depend on each other, each with the arrows between them.
fn circles(arrows: &[Arrow]) -> Vec<(BTreeSet<&str>, Vec<&Arrow>)> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.iter().map(|arrow| (arrow.from.as_str(), reached(&arrow.from, arrows))).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let mut groups = BTreeSet::new();
    for file in reached.keys() {
        let group: BTreeSet<&str> =
            reached.keys().filter(|o| leads(file, o) && leads(o, file)).copied().collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    let between = |group: &BTreeSet<&str>| {
        let inside = |file: &String| group.contains(file.as_str());
        arrows.iter().filter(|arrow| inside(&arrow.from) && inside(&arrow.to)).collect()
    };
    groups.into_iter().map(|group| (group.clone(), between(&group))).collect()
}

/// Every file that a file depends on, directly or not.
fn reached<'a>(from: &str, arrows: &'a [Arrow]) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        for arrow in arrows.iter().filter(|arrow| arrow.from == file) {
            if reached.insert(arrow.to.as_str()) {
                waiting.push(&arrow.to);
            }
        }
    }
    reached
}

fn listing(arrows: &[&Arrow]) -> String {
    let line = |arrow: &&Arrow| {
        let Arrow { from, to, line, path } = arrow;
        format!("  {from}:{line} -> {to} ({path})\n")
    };
    arrows.iter().map(line).collect()
}

#[test]
fn no_file_leads_back_to_itself() {
    let mut needed = BTreeSet::new();
    let mut unknown = String::new();
    for (name, sources) in workspace() {
        let arrows = arrows(&sources);
        for (files, between) in circles(&arrows) {
            let known = KNOWN_CIRCLES
                .iter()
                .find(|(of, known)| *of == name && files.iter().all(|file| known.contains(file)));
            match known {
                Some(known) => _ = needed.insert(*known),
                None => unknown += &format!("{name}: {files:?}\n{}", listing(&between)),
            }
        }
    }
    assert!(unknown.is_empty(), "circles:\n{unknown}");
    let gone: Vec<_> = KNOWN_CIRCLES.iter().filter(|known| !needed.contains(*known)).collect();
    assert!(gone.is_empty(), "these circles are gone, and so must their entries: {gone:#?}");
}

#[test]
fn no_file_is_named_mod() {
    let mut waiting = vec![root()];
    let mut files = 0;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("it can be listed") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                waiting.push(path);
            } else {
                assert_ne!(name, "mod.rs", "{}: use a file beside its folder", path.display());
                files += usize::from(name.ends_with(".rs"));
            }
        }
    }
    assert!(files > 200, "the sources were found");
}

/// The circles of a crate with these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, t)| (*t).into());
    let arrows = arrows(&of_crate("lib.rs", &read));
    let names = |(files, _): (BTreeSet<&str>, _)| files.into_iter().map(str::to_owned).collect();
    circles(&arrows).into_iter().map(names).collect()
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    for (a, b) in [
        ("use crate::b::B; pub struct A(B);", "use super::a::A; pub struct B(Box<A>);"),
        ("pub fn f() { crate::b::f() }", "pub fn f() { super::a::f() }"),
        ("pub fn f() { g!(x, { crate::b::f() }) }", "use super::a::f;"),
        ("use crate::{b::{self}}; pub fn f() { b::f() }", "use super::{c, a as other};"),
        ("use super::B; pub type A = B;", "pub struct B; impl From<crate::a::A> for B {}"),
        ("pub fn f() { crate::c::f() }", "pub mod inner { use super::super::a::f; }"),
    ] {
        let root = "mod a; mod b; mod c; pub use b::B;";
        let c = "pub fn f() { crate::b::f() }";
        let found = circles_of(&[("lib.rs", root), ("a.rs", a), ("b.rs", b), ("c.rs", c)]);
        let [files] = &found[..] else { panic!("{found:?}: {a} {b}") };
        assert!(files.contains(&"a.rs".into()) && files.contains(&"b.rs".into()), "{files:?}");
    }
}

#[test]
fn a_parent_that_uses_its_child_is_not_built_on_by_it() {
    let root = ("lib.rs", "mod config;");
    let child = ("config/keys.rs", "use super::Config; pub fn read(_: &mut Config) {}");
    let declares = ("config.rs", "mod keys; pub use keys::read; pub struct Config;");
    assert_eq!(circles_of(&[root, declares, child]), Vec::<Vec<String>>::new());
    let uses = ("config.rs", "mod keys; pub struct Config; fn f() { keys::read(&mut Config) }");
    assert_eq!(circles_of(&[root, uses, child]), [["config.rs", "config/keys.rs"]]);
    let both = "mod keys; pub use keys::read; pub struct Config; fn f() { read(&mut Config) }";
    let both = ("config.rs", both);
    assert_eq!(circles_of(&[root, both, child]), [["config.rs", "config/keys.rs"]]);
}

#[test]
fn tests_words_and_reexports_are_not_arrows() {
    let files = [
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B; fn f(b: A) { drop(b) }"),
        ("a.rs", "//! See crate::b.\npub struct A; pub(crate) fn f() { print(\"crate::b::f\") }"),
        (
            "b.rs",
            "use crate::A; pub struct B(A);\n#[cfg(test)] mod tests { use crate::b::B; }\n\
             #[cfg(test)] use crate::c::C;",
        ),
    ];
    assert_eq!(circles_of(&files), Vec::<Vec<String>>::new());
    // The same names in code would be a circle.
    let a = ("a.rs", "pub struct A; pub(crate) fn f() { crate::b::f() }");
    assert_eq!(circles_of(&[files[0], a, files[2]]), [["a.rs", "b.rs"]]);
}
