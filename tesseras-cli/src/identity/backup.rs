//! What is inside an identity's backup: a page that says itself what it is and how to use it, so
//! that a person who opens it with stock `age` needs nothing else.
//!
//! It is in docs/FORMAT.md: a line with the version, `key: value` lines up to an empty line, prose
//! that no reader looks at, and the two secret keys as PEM blocks, Ed25519 first.

use tesseras_core::append::Append as _;
use tesseras_core::ids::CreatorId;
use tesseras_core::path::{TextError, check_line};
use tesseras_crypto::{CreatorKeys, KeyError};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{ED25519, Identity, ML_DSA_65};

const KIND: &str = "tesseras-identity ";
const VERSION: &str = "1";
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// More than any text is long; set aside at once, since a string that grows leaves copies of what
/// it held behind that nobody wipes.
const ROOM: usize = 16 * 1024;

/// Why a file is not an identity.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It does not begin as one.
    #[error("it is not the backup of an identity")]
    NotBackup,
    /// It is one that a later program wrote.
    #[error("it has version {0:?}, and this program reads version {VERSION}")]
    Version(String),
    /// A line is missing.
    #[error("it has no line \"{0}: …\"")]
    NoLine(&'static str),
    /// The name is not a line of text.
    #[error("its name cannot be used: {0}")]
    Name(#[source] TextError),
    /// It holds another number of keys.
    #[error("it holds {found} secret keys, not 2")]
    Blocks {
        /// The number of keys found.
        found: usize,
    },
    /// A key cannot be read.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The keys are not those of the creator that it names.
    #[error("its keys are those of creator {found}, not of {named:?}")]
    OtherCreator {
        /// Whose keys they are.
        found: CreatorId,
        /// Whose it says that they are.
        named: String,
    },
}

/// The text of an identity. Wiped from memory when dropped.
pub fn render(identity: &Identity) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    text.append(format_args!("{KIND}{VERSION}\nname: {}\ncreator: {}\n\n\
         This is the identity of a creator of Tesseras: a name, and the two secret keys that sign\n\
         in it. Keep it secret. Anyone who has this text can sign in this name, and nobody can\n\
         make the keys again.\n\n\
         To use it on a computer: tes identity restore FILE, with the encrypted file.\n\
         By hand: write each key below, with its BEGIN and END lines, to the file named above it,\n\
         in the folder \"identity\" of the data directory, and a file creator.txt with the line\n\
         \"name: \" and the name. Only you should be able to read them (folder 0700, files 0600).\n",
        identity.name,
        identity.keys.public().id()));
    for (file, pem) in
        [(ED25519, identity.keys.ed25519_pem()), (ML_DSA_65, identity.keys.ml_dsa_65_pem())]
    {
        text.append(format_args!("\n{file}\n{}", pem.as_str()));
    }
    text
}

/// The identity in a text.
pub fn parse(text: &str) -> Result<Identity, BackupError> {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(KIND));
    let version = version.ok_or(BackupError::NotBackup)?;
    if version != VERSION {
        return Err(BackupError::Version(version.chars().take(20).collect()));
    }
    let (mut name, mut creator) = (None, None);
    for line in lines.take_while(|line| !line.is_empty()) {
        match line.split_once(':') {
            Some(("name", value)) => name = Some(value.trim()),
            Some(("creator", value)) => creator = Some(value.trim()),
            // A later program of this version may say more.
            _ => {}
        }
    }
    let name = name.ok_or(BackupError::NoLine("name"))?;
    let creator = creator.ok_or(BackupError::NoLine("creator"))?;
    // Identities of the first version of `tes init` may have no name.
    if !name.is_empty() {
        check_line(name).map_err(BackupError::Name)?;
    }
    let blocks = blocks(text);
    let [ed25519, ml_dsa_65] = blocks[..] else {
        return Err(BackupError::Blocks { found: blocks.len() });
    };
    let keys = CreatorKeys::from_pem(ed25519, ml_dsa_65)?;
    let found = keys.public().id();
    if found.to_string() != creator {
        let named = creator.chars().take(2 * CreatorId::LEN).collect();
        return Err(BackupError::OtherCreator { found, named });
    }
    Ok(Identity { keys, name: name.to_owned() })
}

/// The PEM blocks of secret keys, in order.
fn blocks(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((begin, length)) = rest
        .find(BEGIN)
        .and_then(|begin| rest[begin..].find(END).map(|end| (begin, end + END.len())))
    {
        found.push(&rest[begin..begin + length]);
        rest = &rest[begin + length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity { keys: CreatorKeys::from_seeds(&[1; 32], &[2; 32]), name: name.to_owned() }
    }

    #[test]
    fn an_identity_comes_back_with_its_name() {
        for name in ["Ana", "", "avó: Rosa"] {
            let text = render(&identity(name));
            assert!(text.len() < ROOM, "it grew");
            let read = parse(&text).expect("its own text");
            assert_eq!(read.name, name);
            assert_eq!(read.keys.public().id(), identity("").keys.public().id());
            let windows = parse(&text.replace('\n', "\r\n")).expect("as other editors write it");
            assert_eq!(windows.name, name);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let good = render(&identity("Ana"));
        let id = identity("").keys.public().id().to_string();
        let block = &good[good.rfind(BEGIN).expect("a key")..];
        for (bad, why) in [
            (String::new(), "not the backup of an identity"),
            ("tesseras-manifest 1\n".to_owned(), "not the backup of an identity"),
            (good.replacen("identity 1", "identity 2", 1), "version \"2\""),
            (good.replacen("name: ", "nome: ", 1), "no line \"name: …\""),
            (good.replacen("creator: ", "creator ", 1), "no line \"creator: …\""),
            (good.replacen("Ana", "A\u{7}na", 1), "name cannot be used"),
            (good.replacen(block, "", 1), "1 secret keys"),
            (format!("{}{block}", good.as_str()), "3 secret keys"),
            (good.replacen(&id, &"0".repeat(64), 1), "not of \"000"),
            (good.replacen(BEGIN, &format!("{BEGIN}\nAAAA"), 1), "Ed25519"),
        ] {
            let error = parse(&bad).map(|_| ()).expect_err(why).to_string();
            assert!(error.contains(why), "{error} / {why}");
        }
    }
}
