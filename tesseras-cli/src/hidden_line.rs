//! One line from the terminal that is not shown while it is typed.
//!
//! The terminal stops showing what is typed before the prompt appears, so that nothing typed at the
//! first sight of it is seen. Ctrl-C ends the line, and the terminal is as before when this returns.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// The longest line, in bytes; a terminal gives no longer one.
const MAX_BYTES: usize = 4096;
const CTRL_C: u8 = 3;

/// Asks for a line. `None` if the person pressed Ctrl-C.
pub fn ask(prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let _hidden = Hidden::new(&terminal)?;
    let mut open = &terminal;
    open.write_all(prompt.as_bytes())?;
    let mut line = Zeroizing::new([0; MAX_BYTES]);
    // A terminal gives one whole line at a time.
    let got = open.read(&mut line[..])?;
    let typed = &line[..got];
    if typed.contains(&CTRL_C) {
        open.write_all(b"\n")?;
        return Ok(None);
    }
    let Some(typed) = typed.strip_suffix(b"\n") else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the input ended"));
    };
    let text = std::str::from_utf8(typed).map_err(io::Error::other)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        // Ctrl-C ends a line, so that it is noticed at once.
        hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(terminal, OptionalActions::Now, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
