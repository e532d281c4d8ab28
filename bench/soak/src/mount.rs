//! A small file system of its own for a node, so that its disk can really be full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Result;

/// How large it is, in bytes.
const BYTES: u64 = 384 << 20;
const FILLER: &str = "filler";

/// A mounted file system: ext4 in a file where that is possible, else tmpfs. Unmounted when this is
/// dropped.
pub struct Mount {
    at: PathBuf,
    /// Which it is.
    pub kind: &'static str,
}

impl Mount {
    /// Mounts one at this directory; nothing where this process may not mount.
    pub fn new(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let image = at.with_extension("image");
        File::create(&image)?.set_len(BYTES)?;
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        if made && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at)) {
            return Ok(Some(Self { at: at.to_owned(), kind: "ext4" }));
        }
        fs::remove_file(&image)?;
        let size = format!("size={BYTES}");
        let mounted =
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at));
        Ok(mounted.then(|| Self { at: at.to_owned(), kind: "tmpfs" }))
    }

    /// Fills it to the last byte, and then frees so many.
    pub fn fill(&self, leave: u64) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.at.join(FILLER))?;
        // Smaller and smaller: what is left takes no large write.
        for length in [1 << 20, 64 << 10, 4 << 10] {
            let bytes = vec![0x55; length];
            loop {
                match file.write_all(&bytes) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        file.sync_all().or_else(|error| match error.kind() {
            ErrorKind::StorageFull => Ok(()),
            _ => Err(error),
        })?;
        let length = file.metadata()?.len();
        Ok(file.set_len(length.saturating_sub(leave))?)
    }

    /// Gives back what was filled.
    pub fn empty(&self) -> Result<()> {
        match fs::remove_file(self.at.join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.at));
    }
}

fn run(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
