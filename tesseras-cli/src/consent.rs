//! What a person is told before a tessera is published, while it can still be left alone.

use tesseras_capsule::StoredCapsule;
use tesseras_core::append::Append as _;
use tesseras_core::placement::TargetForm;
use tesseras_storage::Store;

use crate::command_error::CommandError;
use crate::human::{count, size};

/// How many photos with a place are named; of more, the number is told.
const NAMED: usize = 8;

/// What publishing means for this capsule, with `peers` other nodes known.
pub fn warning(store: &Store, capsule: &StoredCapsule, peers: u64) -> Result<String, CommandError> {
    let placed = capsule.gps_files(&*store.blobs())?;
    let title = capsule.manifest().header("title").unwrap_or("This tessera");
    let mut text = format!(
        "\"{title}\" becomes public, and for ever: anyone who knows its hash can read it, and so\n\
         can the nodes that hold it. Nobody can call it back or delete it from them, you included.\n"
    );
    text += &upload(capsule.layout().bytes(), peers);
    text += &places(&placed);
    Ok(text)
}

fn upload(pack_bytes: u64, peers: u64) -> String {
    if peers == 0 {
        return format!(
            "It has {}. Your node knows no other node yet, so how much it uploads is not known.\n",
            size(pack_bytes)
        );
    }
    let form = TargetForm::of(pack_bytes, usize::try_from(peers).unwrap_or(usize::MAX));
    let bytes = form.upload_bytes(pack_bytes);
    format!(
        "Your node knows {}, so it uploads about {}: {:.1} times its {}.\n",
        count(peers, "other node", "other nodes"),
        size(bytes),
        bytes as f64 / pack_bytes.max(1) as f64,
        size(pack_bytes),
    )
}

/// Only EXIF data are read, so no more than that can be said.
const NO_PLACES: &str = "No photo in it says in its EXIF data where it was taken (GPS). XMP data, \
                         videos and writings are not searched.";

fn places(placed: &[String]) -> String {
    if placed.is_empty() {
        return format!("{NO_PLACES}\n");
    }
    let photos = match placed.len() {
        1 => "1 photo says where it was taken (GPS), which becomes public, too".to_owned(),
        n => format!("{n} photos say where they were taken (GPS), which becomes public, too"),
    };
    let mut text = format!("{photos}:\n");
    for name in placed.iter().take(NAMED) {
        text.append_line(format_args!("  {name}"));
    }
    if placed.len() > NAMED {
        let more = placed.len() - NAMED;
        text.append_line(format_args!("  and {more} more (`tes show` lists them)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_with_a_place_are_counted_and_named() {
        assert!(places(&[]).contains("No photo"));
        let one = places(&["a.jpg".to_owned()]);
        assert!(one.contains("1 photo says") && one.contains("a.jpg"), "{one}");
        let many = places(&vec!["x.jpg".to_owned(); 20]);
        assert!(many.contains("20 photos say") && many.contains("and 12 more"), "{many}");
    }

    #[test]
    fn the_upload_is_size_times_copies() {
        assert!(upload(1000, 0).contains("not known"));
        let text = upload(1 << 20, 3);
        assert!(text.contains("3.0 MiB") && text.contains("3.0 times its 1.0 MiB"), "{text}");
    }
}
