//! The recovery card: on paper, everything that is needed to get a tessera back.

use tesseras_core::append::Append as _;
use tesseras_core::ids::{CreatorId, TesseraHash};
use tesseras_core::manifest::Manifest;
use tesseras_core::ports::TesseraRecord;

/// The width of a card, in characters.
pub const CARD_COLUMNS: usize = 72;
/// The most addresses on a card; the first ones are used.
pub const CARD_ADDRESSES: usize = 12;

/// Which nodes keep a capsule when its card is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Other nodes: it is published.
    ByOthers,
    /// Only its owner.
    OnlyHere,
    /// Other nodes hold some pieces, from a publication that was stopped or cancelled.
    LeftBehind,
}

/// How many of them are in the command that starts a node, so that the line is not broken.
const BOOTSTRAP_ADDRESSES: usize = 2;

/// The facts on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFacts<'a> {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its title.
    pub title: &'a str,
    /// When it was created, RFC 3339.
    pub created: &'a str,
    /// The creator's name, if the MANIFEST has one.
    pub creator_name: Option<&'a str>,
    /// The creator's id.
    pub creator: CreatorId,
    /// The number of memories.
    pub memories: u64,
    /// Addresses (`host:port`) of nodes to start with.
    pub addresses: &'a [String],
    /// Where the software can be obtained.
    pub software: &'a str,
    /// Which nodes keep it. A card must not promise holders for a capsule that exists on only one
    /// computer.
    pub kept: Kept,
}

impl<'a> CardFacts<'a> {
    /// The facts about a capsule of the library.
    pub fn new(
        record: &'a TesseraRecord,
        manifest: &'a Manifest,
        addresses: &'a [String],
        software: &'a str,
        kept: Kept,
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
            kept,
        }
    }
}

/// The text of a card in one language.
struct Words {
    heading: &'static str,
    /// The purpose of the card, for a published capsule.
    published: &'static str,
    /// The same for an unpublished one.
    unpublished: &'static str,
    /// The same for an unpublished one of which other nodes hold pieces.
    left_behind: &'static str,
    title: &'static str,
    made: &'static str,
    by: &'static str,
    creator: &'static str,
    memories: &'static str,
    code: &'static str,
    hash: &'static str,
    typing: &'static str,
    fetch: &'static str,
    fetch_later: &'static str,
    addresses: &'static str,
    no_addresses: &'static str,
    software: &'static str,
    without: &'static str,
}

const ENGLISH: Words = Words {
    heading: "TESSERAS RECOVERY CARD",
    published: "This card leads back to a capsule of memories that the computers of volunteers \
                keep. Put it where you keep important papers, and give copies to people you trust. \
                It holds no secret: the capsule is public.",
    unpublished: "NOT PUBLISHED. When this card was written, the capsule existed only here, on the \
                  computer that printed it; no other computer had a copy. If that computer is \
                  lost, this card brings nothing back. Publish the capsule, then print the card \
                  again.",
    left_behind: "NOT LOOKED AFTER. A publication of this capsule was stopped or cancelled. Other \
                  computers hold some of it, perhaps all; its owner's node does not look after \
                  it. This card may bring it back, and may not. To be sure, publish the capsule, \
                  then print the card again.",
    title: "Title",
    made: "Made",
    by: "By",
    creator: "Its creator, who signed it. In what anybody else signed, other digits stand there; the file \
              README.decode in the capsule says how to compare:",
    memories: "Memories",
    code: "The code of the capsule (62 characters). If a character is mistyped, the program \
           notices it:",
    hash: "The same as its hash (64 digits, from 0 to 9 and a to f), without that protection:",
    typing: "One of the two is enough. Spaces may be typed or left out, and upper and lower case \
             are the same.",
    fetch: "To get it back, start a node and ask for it (one line each):",
    fetch_later: "Once it is published, this brings it back (one line each):",
    addresses: "Nodes of the network that were known when this card was written. One that answers \
                is enough:",
    no_addresses: "No address of a node was known when this card was written. Ask anyone who runs \
                   a Tesseras node for its address.",
    software: "The software:",
    without: "If this software no longer exists: anyone who has the capsule as a directory or tar \
              file can read it without the software. The file README.decode in it explains how.",
};

const PORTUGUESE: Words = Words {
    heading: "CARTÃO DE RECUPERAÇÃO TESSERAS",
    published: "Este cartão leva de volta a uma cápsula de memórias guardada pelos computadores de \
                voluntários. Guarde-o junto dos papéis importantes e dê cópias a pessoas de \
                confiança. Ele não contém segredo algum: a cápsula é pública.",
    unpublished: "NÃO PUBLICADA. Quando este cartão foi escrito, a cápsula existia somente aqui, no \
                  computador que o imprimiu; nenhum outro tinha uma cópia. Se esse computador se \
                  perder, este cartão não recupera nada. Publique a cápsula e imprima o cartão de \
                  novo.",
    left_behind: "SEM CUIDADO. Uma publicação desta cápsula foi interrompida ou cancelada. Outros \
                  computadores têm uma parte dela, talvez toda; o nó do dono não cuida dela. Este \
                  cartão pode recuperá-la ou não. Para ter certeza, publique a cápsula e imprima o \
                  cartão de novo.",
    title: "Título",
    made: "Criada",
    by: "Por",
    creator: "O criador, que a assinou. Se outra pessoa assinou, os dígitos são outros; o arquivo \
              README.decode dentro da cápsula explica como comparar:",
    memories: "Memórias",
    code: "O código da cápsula (62 caracteres). Se um caractere for digitado errado, o programa \
           percebe:",
    hash: "O mesmo como hash (64 dígitos, de 0 a 9 e de a a f), sem essa proteção:",
    typing: "Basta um dos dois. Os espaços podem ser digitados ou não, e tanto faz usar maiúsculas \
             ou minúsculas.",
    fetch: "Para recuperá-la, inicie um nó e peça-a (uma linha de cada vez):",
    fetch_later: "Depois de publicada, recupera-se assim (uma linha de cada vez):",
    addresses: "Nós da rede que eram conhecidos quando este cartão foi escrito. Basta um que \
                responda:",
    no_addresses: "Nenhum endereço de nó era conhecido quando este cartão foi escrito. Peça o \
                   endereço a quem mantenha um nó Tesseras.",
    software: "O programa:",
    without: "Se esse programa já não existir: quem tiver a cápsula como diretório ou arquivo tar \
              pode lê-la sem programa algum. O arquivo README.decode dentro dela explica como.",
};

/// The card as plain text of at most [`CARD_COLUMNS`] columns, in English and Portuguese.
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
    let code = facts.hash.to_code();
    wrap(out, "", "", words.heading);
    out.push('\n');
    let state = match facts.kept {
        Kept::ByOthers => words.published,
        Kept::OnlyHere => words.unpublished,
        Kept::LeftBehind => words.left_behind,
    };
    wrap(out, "", "", state);
    out.push('\n');
    let date = facts.created.get(..10).unwrap_or(facts.created);
    let memories = facts.memories.to_string();
    let mut fields = vec![(words.title, facts.title), (words.made, date)];
    if let Some(name) = facts.creator_name {
        fields.push((words.by, name));
    }
    fields.push((words.memories, &memories));
    for (label, value) in fields {
        wrap(out, &format!("  {:<10}", format!("{label}:")), &" ".repeat(12), value);
    }
    out.push('\n');
    to_be_compared(out, words.code, &code);
    to_be_compared(out, words.hash, &facts.hash.to_string());
    wrap(out, "", "", words.typing);
    out.push('\n');
    to_be_compared(out, words.creator, &facts.creator.to_string());
    wrap(out, "", "", if facts.kept == Kept::OnlyHere { words.fetch_later } else { words.fetch });
    out.push('\n');
    // Any of them may be gone when the card is used.
    let first = match facts.addresses.iter().take(BOOTSTRAP_ADDRESSES).cloned().collect::<Vec<_>>()
    {
        none if none.is_empty() => "HOST:PORT".to_owned(),
        some => some.join(","),
    };
    out.append_line(format_args!("tesd --bootstrap {first} &\ntes fetch {code}"));
    out.push('\n');
    if facts.addresses.is_empty() {
        wrap(out, "", "", words.no_addresses);
    } else {
        wrap(out, "", "", words.addresses);
        for address in facts.addresses.iter().take(CARD_ADDRESSES) {
            out.append_line(format_args!("  {address}"));
        }
    }
    out.push('\n');
    wrap(out, &format!("{} ", words.software), "  ", facts.software);
    wrap(out, "", "", words.without);
}

/// Appends characters that people type or compare, below what they are.
fn to_be_compared(out: &mut String, what: &str, characters: &str) {
    wrap(out, "", "", what);
    out.push('\n');
    grouped(out, characters);
    out.push('\n');
}

/// Appends lines of eight groups of four characters, which are easy to follow and type.
fn grouped(out: &mut String, characters: &str) {
    let characters: Vec<char> = characters.chars().collect();
    for line in characters.chunks(32) {
        let groups: Vec<String> = line.chunks(4).map(String::from_iter).collect();
        out.append_line(format_args!("      {}", groups.join(" ")));
    }
}

/// Appends a string in lines of at most [`CARD_COLUMNS`] characters. A word longer than a line is
/// split.
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

    fn facts<'a>(title: &'a str, addresses: &'a [String], kept: Kept) -> CardFacts<'a> {
        CardFacts {
            hash: TesseraHash::new([0xab; 32]),
            title,
            created: "2026-01-02T03:04:05Z",
            creator_name: Some("Ana"),
            creator: CreatorId::new([7; 32]),
            memories: 12,
            addresses,
            software: "https://tesseras.net",
            kept,
        }
    }

    #[test]
    fn a_card_fits_a_page_and_can_be_typed() {
        let long = "uma história muito longa ".repeat(9) + &"x".repeat(200);
        for (title, addresses) in [("Férias", vec!["192.0.2.7:4433".to_owned()]), (&long, vec![])]
        {
            for kept in [Kept::ByOthers, Kept::OnlyHere, Kept::LeftBehind] {
                let card = recovery_card(&facts(title, &addresses, kept));
                for line in card.lines() {
                    assert!(line.chars().count() <= CARD_COLUMNS, "{line}");
                }
                assert!(card.contains("abab abab abab abab") && card.contains("2026-01-02"));
                assert!(card.contains("tes1 4w46 h2at"), "{card}");
                assert!(card.contains("CARTÃO DE RECUPERAÇÃO"));
                assert_eq!(card.contains("--bootstrap 192.0.2.7:4433"), !addresses.is_empty());
            }
        }
    }

    #[test]
    fn what_stands_on_a_card_leads_to_the_hash() {
        let facts = facts("Férias", &[], Kept::ByOthers);
        let card = recovery_card(&facts);
        let command = card.lines().find_map(|line| line.strip_prefix("tes fetch "));
        let code = command.expect("the command to type");
        assert_eq!(TesseraHash::from_code(code), Ok(facts.hash));
        let typed: String = card.chars().filter(|c| !c.is_whitespace()).collect();
        // In groups, once for each language, and in the commands.
        assert_eq!(typed.matches(code).count(), 4, "{card}");
        assert_eq!(typed.matches(&facts.hash.to_string()).count(), 2, "{card}");
        assert_eq!(typed.matches(&facts.creator.to_string()).count(), 2, "{card}");
        let words = card.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("upper and lower case are the same"), "{card}");
        assert!(words.contains("If a character is mistyped, the program notices"), "{card}");
    }

    #[test]
    fn a_card_promises_holders_only_of_what_is_published() {
        let unpublished = recovery_card(&facts("Férias", &[], Kept::OnlyHere));
        for claim in ["volunteers", "voluntários", "public:", "pública"] {
            assert!(!unpublished.contains(claim), "{claim}: {unpublished}");
        }
        let words = unpublished.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("existed only here, on the computer"), "{unpublished}");
        assert!(words.contains("existia somente aqui, no computador"), "{unpublished}");
        let published = recovery_card(&facts("Férias", &[], Kept::ByOthers));
        assert!(published.contains("volunteers") && published.contains("voluntários"));
        assert!(!published.contains("only here") && !published.contains("somente aqui"));
        let left = recovery_card(&facts("Férias", &[], Kept::LeftBehind));
        assert!(left.contains("NOT LOOKED AFTER") && left.contains("SEM CUIDADO"), "{left}");
        assert!(!left.contains("only here") && !left.contains("volunteers"), "{left}");
    }
}
