//! Rows: parity of a pack, and rebuilding lost fragments. Our side reads a capsule's pack from the
//! store, hashes the pack and every fragment, and stages the results.

use std::sync::Arc;

use tesseras_core::code::{CodedForm, NARROW, Shape, WIDE, WIDE_FROM_BYTES};
use tesseras_core::ports::{BlobReader, BlobStore, StoreError, Workbench as _};
use tesseras_core::progress::Meter;
use tesseras_node::clock;
use tesseras_replication::erasure::{DataFragment, encode, rebuild};
use tesseras_storage::Store;

use crate::bare;
use crate::failure::Result;
use crate::lap::{Contest, Table, Work, lap};
use crate::scene::{PHOTO, Scene, open, pack};

/// The start of a longer blob, so that one capsule serves both codes.
struct Beginning(Arc<dyn BlobReader>, u64);

impl BlobReader for Beginning {
    fn bytes(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), StoreError> {
        self.0.read_at(offset, buffer)
    }
}

/// Measures both codes.
pub fn rows(scene: &Scene, table: &mut Table) -> Result<()> {
    let name = |what: &str, Shape { k, m }: Shape| match what {
        "encode" => format!("encode {k}+{m}"),
        _ => format!("rebuild {k}+{m}, {m} data lost"),
    };
    let wanted = [NARROW, WIDE]
        .map(|shape| ["encode", "rebuild"].into_iter().any(|what| table.wants(&name(what, shape))));
    if wanted == [false; 2] {
        return Ok(());
    }
    let store = open(&scene.empty("coding")?)?;
    let hash = scene.create(&store, &scene.album("album", 1, scene.bytes(), PHOTO)?)?.hash;
    let whole = pack(&store, &hash)?;
    let narrow = whole.bytes().min(WIDE_FROM_BYTES - 1);
    let packs: [Arc<dyn BlobReader>; 2] = [Arc::new(Beginning(whole.clone(), narrow)), whole];
    for (pack, shape) in packs.into_iter().zip([NARROW, WIDE]) {
        let form = CodedForm::of_pack(pack.bytes()).ok_or("the pack has a coded form")?;
        if form.shape == shape {
            code(&store, &pack, form, &|what| name(what, shape), table)?;
        } else {
            table.note(format!("{}+{}: left out, it needs --mib 256", shape.k, shape.m));
        }
    }
    drop(store);
    ["album", "coding"].into_iter().try_for_each(|name| scene.remove(name))
}

fn code(
    store: &Store,
    pack: &Arc<dyn BlobReader>,
    form: CodedForm,
    name: &dyn Fn(&str) -> String,
    table: &mut Table,
) -> Result<()> {
    let (workbench, shape) = (store.workbench(), form.shape);
    let blobs: Arc<dyn BlobStore> = store.blobs();
    table.add(Contest {
        name: name("encode"),
        work: Work::Bytes(pack.bytes()),
        real: Box::new(|_| {
            let (lap, encoded) = lap(|| Ok(encode(pack, &blobs, &Meter::silent())?))?;
            drop(encoded);
            Ok(lap)
        }),
        bare: vec![(
            "reed-solomon-simd in memory",
            Box::new(|_| Ok(lap(|| bare::encode(shape, pack.bytes()))?.0)),
        )],
    })?;
    if !table.wants(&name("rebuild")) {
        return Ok(());
    }
    let tessera = tesseras_core::ids::TesseraHash::new([shape.k; 32]);
    let encoded = encode(pack, &blobs, &Meter::silent())?;
    let mut pieces: Vec<(u8, Arc<dyn BlobReader>)> = Vec::new();
    for index in shape.m..shape.k {
        pieces.push((index, Arc::new(DataFragment::new(pack.clone(), form, index))));
    }
    for (index, staged) in (shape.k..).zip(encoded.parity) {
        let checksum = staged.hash;
        workbench.pin(&tessera, staged.take(), clock::system().now())?;
        pieces.push((index, workbench.open(&tessera, &checksum)?.into()));
    }
    let lost: Vec<u8> = (0..shape.m).collect();
    table.add(Contest {
        name: name("rebuild"),
        work: Work::Bytes(pack.bytes()),
        real: Box::new(|_| {
            let (lap, rebuilt) =
                lap(|| Ok(rebuild(&pieces, form, &lost, &blobs, &Meter::silent())?))?;
            let right = rebuilt
                .iter()
                .map(|s| s.hash)
                .eq(lost.iter().map(|i| encoded.checksums[usize::from(*i)]));
            if right { Ok(lap) } else { Err("rebuilt fragments are wrong".into()) }
        }),
        bare: vec![(
            "reed-solomon-simd in memory",
            Box::new(|_| Ok(lap(|| bare::rebuild(shape, pack.bytes()))?.0)),
        )],
    })?;
    Ok(workbench.unpin(&tessera)?)
}
