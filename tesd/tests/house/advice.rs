//! Only `tes` and `tesd` name commands of `tes`: messages of the crates below must not, so that
//! hints are written in one place.

use syn::visit::{self, Visit};

use super::sources::{Source, workspace};

/// The two programs may name commands of `tes` in their hints.
const PROGRAMS: [&str; 2] = ["tesseras-cli/src/main.rs", "tesd/src/main.rs"];

/// The recovery card is a document for a reader decades from now, and gives the command to fetch a
/// tessera.
const CARD: (&str, &str) = ("tesseras-capsule/src/lib.rs", "card.rs");

/// The commands of `tes`, from its own source.
fn commands() -> Vec<String> {
    let crates = workspace();
    let cli = &crates["tesseras-cli/src/main.rs"];
    let of = |source: &&Source| source.module == ["commands"];
    let commands = cli.iter().find(of).expect("the commands have a file");
    let name = |item: &syn::Item| match item {
        syn::Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    };
    commands.syntax.items.iter().filter_map(name).collect()
}

/// Whether a text contains `tes` followed by the name of a command.
fn names_a_command(text: &str, commands: &[String]) -> bool {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| !word.is_empty())
        .collect();
    words.windows(2).any(|pair| pair[0] == "tes" && commands.iter().any(|name| name == pair[1]))
}

/// All string literals of a file, except comments and documentation.
struct Strings(Vec<String>);

impl<'ast> Visit<'ast> for Strings {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        // Error texts are in attributes; documentation is an attribute too, but not a message.
        if !attribute.path().is_ident("doc") {
            if let syn::Meta::List(list) = &attribute.meta {
                self.tokens(list.tokens.clone());
            }
            visit::visit_attribute(self, attribute);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.0.push(literal.value());
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.tokens(called.tokens.clone());
    }
}

impl Strings {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.tokens(group.stream()),
                proc_macro2::TokenTree::Literal(literal) => {
                    if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                        self.0.push(text.value());
                    }
                }
                _ => {}
            }
        }
    }

    fn of(file: &syn::File) -> Vec<String> {
        let mut strings = Self(Vec::new());
        strings.visit_file(file);
        strings.0
    }
}

#[test]
fn no_message_below_tes_names_one_of_its_commands() {
    let commands = commands();
    assert!(commands.len() > 15 && commands.iter().any(|name| name == "fetch"), "{commands:?}");
    let mut found = Vec::new();
    for (root, sources) in workspace() {
        if PROGRAMS.contains(&root.as_str()) {
            continue;
        }
        for source in sources {
            if CARD == (root.as_str(), source.file.as_str()) {
                continue;
            }
            let strings = Strings::of(&source.syntax).into_iter();
            let naming = strings.filter(|text| names_a_command(text, &commands));
            found.extend(naming.map(|text| format!("{root}: {}: {text:?}", source.file)));
        }
    }
    assert!(found.is_empty(), "advice belongs in tesseras-cli:\n{}", found.join("\n"));
}

#[test]
fn a_command_is_found_in_errors_macros_and_plain_strings() {
    let commands = ["peers".to_owned()];
    let finds = |text: &str| {
        let file = syn::parse_file(text).expect("Rust");
        Strings::of(&file).iter().any(|text| names_a_command(text, &commands))
    };
    assert!(finds(r#"#[error("look at `tes peers`")] struct E;"#));
    assert!(finds(r#"fn f() { g(format!("x {}", ["tes peers"])) }"#));
    assert!(finds("const A: &str = \"run tes \\\n   peers\";"));
    assert!(!finds("/// See `tes peers`.\nfn f() { g(\"tesd peers, tes and peers\") }"));
}
