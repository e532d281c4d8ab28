//! Rows: creating and verifying a capsule.

use tesseras_capsule::{export, verify_directory, verify_stored};
use tesseras_core::progress::Meter;

use crate::bare;
use crate::failure::Result;
use crate::lap::{Contest, Table, Work, lap, lap_on_warm_memory};
use crate::scene::{PHOTO, SMALL_PHOTO, Scene, capsule, open};

/// Measures `create` and `verify`.
pub fn rows(scene: &Scene, table: &mut Table) -> Result<()> {
    large_photos(scene, table)?;
    small_photos(scene, table)
}

fn large_photos(scene: &Scene, table: &mut Table) -> Result<()> {
    if !table.wants("create") && !table.wants("verify") && !table.wants("verify a directory") {
        return Ok(());
    }
    let album = scene.album("album", 1, scene.bytes(), PHOTO)?;
    let digest = || Ok(lap(|| bare::digest(&album))?.0);
    table.add(Contest {
        name: "create".to_owned(),
        work: Work::Bytes(scene.bytes()),
        real: Box::new(|_| {
            let store = open(&scene.empty("created")?)?;
            Ok(lap_on_warm_memory(|| scene.create(&store, &album))?.0)
        }),
        bare: vec![
            ("BLAKE3 and SHA-256 on two threads", Box::new(|_| digest())),
            (
                "copy, each file fsynced",
                Box::new(|_| {
                    let to = scene.empty("copied")?;
                    Ok(lap_on_warm_memory(|| bare::copy(&album, &to))?.0)
                }),
            ),
        ],
    })?;
    scene.remove("copied")?;

    let store = open(&scene.empty("created")?)?;
    let hash = scene.create(&store, &album)?.hash;
    let (blobs, library) = (store.blobs(), store.library());
    table.add(Contest {
        name: "verify".to_owned(),
        work: Work::Bytes(scene.bytes()),
        real: Box::new(|_| {
            let (lap, report) =
                lap(|| Ok(verify_stored(&*blobs, &*library, &hash, &Meter::silent())?))?;
            if report.valid { Ok(lap) } else { Err("the capsule is not valid".into()) }
        }),
        bare: vec![("BLAKE3 and SHA-256 on two threads", Box::new(|_| digest()))],
    })?;
    if table.wants("verify a directory") {
        let to = scene.empty("exported")?;
        let exported = export(&capsule(&store, &hash)?, &*blobs, &to, &Meter::silent())?;
        table.add(Contest {
            name: "verify a directory".to_owned(),
            work: Work::Bytes(scene.bytes()),
            real: Box::new(|_| {
                let (lap, report) =
                    lap(|| Ok(verify_directory(&exported, Some(&hash), &Meter::silent())?))?;
                if report.valid { Ok(lap) } else { Err("the capsule is not valid".into()) }
            }),
            bare: vec![("BLAKE3 and SHA-256 on two threads", Box::new(|_| digest()))],
        })?;
    }
    drop(store);
    ["album", "created", "exported"].into_iter().try_for_each(|name| scene.remove(name))
}

/// Small photos, where most of the time goes to syncing many files.
fn small_photos(scene: &Scene, table: &mut Table) -> Result<()> {
    let name = "create of small photos";
    if !table.wants(name) {
        return Ok(());
    }
    let bytes = scene.bytes() / 4;
    let album = scene.album("album", 1, bytes, SMALL_PHOTO)?;
    // A folder for each lap: ext4 is slow to reuse recently freed space.
    let (mut created, mut copied) = (Vec::new(), Vec::new());
    let fresh = |used: &mut Vec<String>, what: &str| {
        used.push(format!("{what} {}", used.len()));
        scene.empty(&used[used.len() - 1])
    };
    table.add(Contest {
        name: name.to_owned(),
        work: Work::Bytes(bytes),
        real: Box::new(|_| {
            let store = open(&fresh(&mut created, "created")?)?;
            Ok(lap_on_warm_memory(|| scene.create(&store, &album))?.0)
        }),
        bare: vec![(
            "copy, each file fsynced",
            Box::new(|_| {
                let to = fresh(&mut copied, "copied")?;
                Ok(lap_on_warm_memory(|| bare::copy(&album, &to))?.0)
            }),
        )],
    })?;
    created.iter().chain(&copied).try_for_each(|name| scene.remove(name))
}
