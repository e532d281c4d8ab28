//! The recovery card: what somebody needs to know, on paper, to get a tessera back.

use std::fmt::Write as _;

use tesseras_core::ids::{CreatorId, TesseraHash};
use tesseras_core::manifest::Manifest;
use tesseras_core::ports::TesseraRecord;

/// The width of a card, in characters.
pub const CARD_COLUMNS: usize = 72;
/// As many addresses stand on a card; the first ones.
pub const CARD_ADDRESSES: usize = 12;

/// What stands on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFacts<'a> {
    /// The tessera's name.
    pub hash: TesseraHash,
    /// Its title.
    pub title: &'a str,
    /// When it was made, RFC 3339.
    pub created: &'a str,
    /// The creator's name, if the MANIFEST has one.
    pub creator_name: Option<&'a str>,
    /// Who made it.
    pub creator: CreatorId,
    /// How many memories.
    pub memories: u64,
    /// Addresses (`host:port`) of nodes to begin with.
    pub addresses: &'a [String],
    /// Where the software can be had.
    pub software: &'a str,
}

impl<'a> CardFacts<'a> {
    /// The facts about a capsule of the library.
    pub fn new(
        record: &'a TesseraRecord,
        manifest: &'a Manifest,
        addresses: &'a [String],
        software: &'a str,
    ) -> Self {
        Self {
            hash: record.hash,
            title: &record.title,
            created: &record.created,
            creator_name: manifest.header("creator-name"),
            creator: record.creator,
            memories: record.memories,
            addresses,
            software,
        }
    }
}

/// The words of a card in one language.
struct Words {
    heading: &'static str,
    intro: &'static str,
    title: &'static str,
    made: &'static str,
    by: &'static str,
    key: &'static str,
    memories: &'static str,
    hash: &'static str,
    groups: &'static str,
    fetch: &'static str,
    addresses: &'static str,
    no_addresses: &'static str,
    software: &'static str,
    without: &'static str,
}

const ENGLISH: Words = Words {
    heading: "TESSERAS RECOVERY CARD",
    intro: "This card leads back to a capsule of memories that the computers of volunteers keep. \
            Put it where you keep important papers, and give copies to people you trust. It holds \
            no secret: the capsule is public.",
    title: "Title",
    made: "Made",
    by: "By",
    key: "Creator",
    memories: "Memories",
    hash: "The name of the capsule (64 digits, from 0 to 9 and a to f):",
    groups: "The spaces are for the eye only: leave them out when you type. A mistyped digit finds \
             nothing and breaks nothing; try again.",
    fetch: "To get it back, start a node and ask for it (one line each):",
    addresses: "Nodes that knew it when this card was written. One that answers is enough:",
    no_addresses: "No address of a node was known when this card was written. Ask anybody who \
                   runs a Tesseras node for its address.",
    software: "The software:",
    without: "If there is no such software any more: whoever has the capsule as a directory or \
              tar file can read it without any. The file README.decode in it explains how.",
};

const PORTUGUESE: Words = Words {
    heading: "CARTÃO DE RECUPERAÇÃO TESSERAS",
    intro: "Este cartão leva de volta a uma cápsula de memórias guardada pelos computadores de \
            voluntários. Guarde-o junto dos papéis importantes e dê cópias a pessoas de confiança. \
            Ele não contém segredo algum: a cápsula é pública.",
    title: "Título",
    made: "Criada",
    by: "Por",
    key: "Criador",
    memories: "Memórias",
    hash: "O nome da cápsula (64 dígitos, de 0 a 9 e de a a f):",
    groups: "Os espaços servem só aos olhos: não os digite. Um dígito errado não encontra nada e \
             não estraga nada; tente de novo.",
    fetch: "Para recuperá-la, inicie um nó e peça-a (uma linha de cada vez):",
    addresses: "Nós que a conheciam quando este cartão foi escrito. Basta um que responda:",
    no_addresses: "Nenhum endereço de nó era conhecido quando este cartão foi escrito. Peça o \
                   endereço a quem mantenha um nó Tesseras.",
    software: "O programa:",
    without: "Se esse programa já não existir: quem tiver a cápsula como diretório ou arquivo tar \
              pode lê-la sem programa algum. O arquivo README.decode dentro dela explica como.",
};

/// The card as plain text of at most [`CARD_COLUMNS`] columns, in English and Portuguese. Only
/// the command with the hash is two columns longer, for it cannot be broken.
pub fn recovery_card(facts: &CardFacts<'_>) -> String {
    let rule = "=".repeat(CARD_COLUMNS);
    let mut out = format!("{rule}\n");
    for (at, words) in [&ENGLISH, &PORTUGUESE].into_iter().enumerate() {
        if at > 0 {
            out.push_str(&format!("{}\n", "-".repeat(CARD_COLUMNS)));
        }
        part(&mut out, facts, words);
    }
    out.push_str(&rule);
    out.push('\n');
    out
}

fn part(out: &mut String, facts: &CardFacts<'_>, words: &Words) {
    let hash = facts.hash.to_string();
    let creator = facts.creator.to_string();
    wrap(out, "", "", words.heading);
    out.push('\n');
    wrap(out, "", "", words.intro);
    out.push('\n');
    let date = facts.created.get(..10).unwrap_or(facts.created);
    let memories = facts.memories.to_string();
    let mut fields = vec![(words.title, facts.title), (words.made, date)];
    if let Some(name) = facts.creator_name {
        fields.push((words.by, name));
    }
    fields.extend([(words.key, &creator[..16]), (words.memories, &memories)]);
    for (label, value) in fields {
        wrap(out, &format!("  {:<10}", format!("{label}:")), &" ".repeat(12), value);
    }
    out.push('\n');
    wrap(out, "", "", words.hash);
    out.push('\n');
    for line in 0..4 {
        let groups: Vec<&str> = (0..4).map(|g| &hash[16 * line + 4 * g..][..4]).collect();
        writeln!(out, "      {}", groups.join(" ")).expect("a String takes all");
    }
    out.push('\n');
    wrap(out, "", "", words.groups);
    out.push('\n');
    wrap(out, "", "", words.fetch);
    out.push('\n');
    let first = facts.addresses.first().map_or("HOST:PORT", String::as_str);
    writeln!(out, "tesd --bootstrap {first} &\ntes fetch {hash}").expect("a String takes all");
    out.push('\n');
    if facts.addresses.is_empty() {
        wrap(out, "", "", words.no_addresses);
    } else {
        wrap(out, "", "", words.addresses);
        for address in facts.addresses.iter().take(CARD_ADDRESSES) {
            writeln!(out, "  {address}").expect("a String takes all");
        }
    }
    out.push('\n');
    wrap(out, &format!("{} ", words.software), "  ", facts.software);
    wrap(out, "", "", words.without);
}

/// Appends a text in lines of at most [`CARD_COLUMNS`] characters. A word that is longer than a
/// line is cut.
fn wrap(out: &mut String, first: &str, indent: &str, text: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let mut word = word;
        loop {
            let used = line.chars().count() + usize::from(!empty);
            let length = word.chars().count();
            if used + length <= CARD_COLUMNS {
                if !empty {
                    line.push(' ');
                }
                line.push_str(word);
                empty = false;
                break;
            }
            if empty {
                let room = CARD_COLUMNS.saturating_sub(used).max(1);
                let cut = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
                line.push_str(&word[..cut]);
                word = &word[cut..];
            }
            out.push_str(line.trim_end());
            out.push('\n');
            line = indent.to_owned();
            empty = true;
            if word.is_empty() {
                break;
            }
        }
    }
    if !empty || line == first {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_fits_a_page_and_can_be_typed() {
        let long = "uma história muito longa ".repeat(9) + &"x".repeat(200);
        for (title, addresses) in [("Férias", vec!["192.0.2.7:4433".to_owned()]), (&long, vec![])]
        {
            let facts = CardFacts {
                hash: TesseraHash::new([0xab; 32]),
                title,
                created: "2026-01-02T03:04:05Z",
                creator_name: Some("Ana"),
                creator: CreatorId::new([7; 32]),
                memories: 12,
                addresses: &addresses,
                software: "https://tesseras.net",
            };
            let card = recovery_card(&facts);
            for line in card.lines() {
                let fits = line.chars().count() <= CARD_COLUMNS;
                assert!(fits || line.starts_with("tes fetch "), "{line}");
            }
            assert!(card.contains(&"ab".repeat(32)), "{card}");
            assert!(card.contains("abab abab abab abab") && card.contains("2026-01-02"));
            assert!(card.contains("tes fetch") && card.contains("CARTÃO DE RECUPERAÇÃO"));
            assert_eq!(card.contains("--bootstrap 192.0.2.7:4433"), !addresses.is_empty());
        }
    }
}
