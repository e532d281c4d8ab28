//! Folders that can be written, and recognised, again from a number.

use std::fs;
use std::path::Path;

use crate::chance::Chance;
use crate::failure::Result;

/// What a JPEG begins with.
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
/// From this length on packs are coded, in bytes.
const CODED_BYTES: u64 = 4 << 20;
/// Files that several folders have in common are one of so many.
const SHARED: u64 = 4;
/// The stream of shared files.
const SHARED_STREAM: u64 = 0x5a5a;

/// How long a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A few files of 1 KiB to 1 MiB: kept as whole copies.
    Short,
    /// Beyond 4 MiB, in files of up to 1 MiB: coded.
    Coded,
    /// So many letters of a few bytes.
    Letters(u64),
}

/// A folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goods {
    seed: u64,
    size: Size,
}

impl Goods {
    /// The folder of a seed.
    pub fn new(seed: u64, size: Size) -> Self {
        Self { seed, size }
    }

    /// Writes it; what is at the path before must be empty or missing.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder.join("more"))?;
        self.each(&mut |name, bytes| Ok(fs::write(folder.join(name), bytes)?))
    }

    /// What in a folder is not as it was written; nothing if it is the same bit for bit.
    pub fn differs(&self, folder: &Path) -> Result<Option<String>> {
        let mut differs = None;
        let mut files = 0;
        self.each(&mut |name, bytes| {
            files += 1;
            match fs::read(folder.join(name)) {
                Ok(found) if found == bytes => {}
                Ok(found) => {
                    let first = found.iter().zip(bytes).position(|(a, b)| a != b);
                    differs = Some(format!(
                        "{name}: {} bytes instead of {}, the first difference at {first:?}",
                        found.len(),
                        bytes.len()
                    ));
                }
                Err(error) => differs = Some(format!("{name}: {error}")),
            }
            Ok(())
        })?;
        let found = count_files(folder)?;
        if differs.is_none() && found != files {
            differs = Some(format!("{found} files instead of {files}"));
        }
        Ok(differs)
    }

    fn each(&self, take: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        let mut chance = Chance::new(self.seed, 1);
        let mut number = 0;
        let mut photo =
            |chance: &mut Chance, bytes: u64, take: &mut dyn FnMut(&str, &[u8]) -> _| {
                let mut noise = chance.noise(bytes as usize);
                noise[..JPEG.len()].copy_from_slice(JPEG);
                number += 1;
                let folder = if number % 3 == 0 { "more/" } else { "" };
                take(&format!("{folder}photo {number}.jpg"), &noise)
            };
        match self.size {
            Size::Short => {
                for _ in 0..chance.between(1, 4) {
                    let most = 1 << chance.between(10, 20);
                    let bytes = chance.between(1 << 10, most);
                    photo(&mut chance, bytes, take)?;
                }
            }
            Size::Coded => {
                let mut left = CODED_BYTES + chance.between(1, 1 << 20);
                while left > 0 {
                    let bytes = chance.between(200 << 10, 1 << 20).min(left.max(1 << 10));
                    photo(&mut chance, bytes, take)?;
                    left = left.saturating_sub(bytes);
                }
            }
            Size::Letters(letters) => {
                for letter in 0..letters {
                    let text = format!("Dear Ana, this is letter {letter} of {}.\n", self.seed);
                    take(&format!("letter {letter}.txt"), text.as_bytes())?;
                }
            }
        }
        let mut shared = Chance::new(self.seed % SHARED, SHARED_STREAM);
        photo(&mut shared, 20 << 10, take)?;
        let text = format!("A letter about {}.\n", self.seed);
        take("letter.txt", text.as_bytes())
    }
}

fn count_files(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_recognised_and_a_flipped_bit_in_it_is_named() {
        for size in [Size::Short, Size::Coded, Size::Letters(3)] {
            let root = tempfile::tempdir().unwrap();
            let goods = Goods::new(7, size);
            goods.write(root.path()).unwrap();
            assert_eq!(goods.differs(root.path()).unwrap(), None, "{size:?}");
            assert!(Goods::new(8, size).differs(root.path()).unwrap().is_some());
            let letter = root.path().join("letter.txt");
            let mut bytes = fs::read(&letter).unwrap();
            bytes[3] ^= 1;
            fs::write(&letter, bytes).unwrap();
            let found = goods.differs(root.path()).unwrap().unwrap();
            assert!(found.contains("letter.txt") && found.contains("Some(3)"), "{found}");
        }
    }
}
