//! A creator that signed two plans: whichever holder answers first, the true plan is found.

use tesseras_core::code::Piece;
use tesseras_core::contact::Subnet;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, NodeId};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{
    BlobReader, BlobStore as _, Charge, FragmentStore as _, HeldPiece, HoldingRepository as _,
    PeerAt,
};
use tesseras_core::publication::PublicationEvent;

use crate::capsules::{coded, creator};
use crate::world::{World, simulate};

/// The same plan but for the checksum of its first fragment.
fn falsified(plan: &Plan) -> Plan {
    let sums = (0..24).map(|index| match index {
        0 => ContentHash::new([9; 32]),
        _ => plan.checksum(Piece::Index(index)).unwrap(),
    });
    let tessera = plan.tessera();
    Plan::new(tessera, plan.pack_bytes(), plan.pack_hash(), sums.collect()).unwrap()
}

fn read_all(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Lets a new node hold every fragment of these but the first, with a dossier.
fn hold(world: &mut World, dossier: &Dossier, fragments: &[(HeldPiece, Vec<u8>)]) -> usize {
    let index = world.join();
    let place = world.place(index);
    let tessera = fragments[0].0.tessera;
    let subnet = Subnet::V4([10, 0, 0]);
    let charge = Charge::Repair(PeerAt { id: NodeId::new([1; 20]), subnet });
    assert!(place.memory.put_dossier(&tessera, dossier).unwrap());
    for (fragment, bytes) in fragments {
        let mut writer = place.memory.stage().unwrap();
        writer.write(bytes).unwrap();
        let staged = writer.finish().unwrap();
        place.memory.store_fragment(fragment, staged, &charge).unwrap();
    }
    place.memory.note_publication(&tessera, PublicationEvent::Confirmed).unwrap();
    world.shared.announced(index, tessera.dht_key());
    index
}

/// A world in which the only holders of the coded capsule that live are two of its true plan and
/// one of a false plan; returns the former and the latter.
pub async fn two_plans(world: &mut World) -> ([usize; 2], usize) {
    let (lie, dossier, fragments) = forge(world).await;
    let lies = hold(world, &lie, &fragments);
    ([hold(world, &dossier, &fragments), hold(world, &dossier, &fragments)], lies)
}

#[test]
fn a_false_plan_that_comes_first_does_not_hide_the_true_one() {
    simulate(60..68, 12, async |world| {
        let (lie, dossier, fragments) = forge(world).await;
        hold(world, &lie, &fragments);
        hold(world, &lie, &fragments);
        hold(world, &dossier, &fragments);
        let fetcher = world.join();
        world.fetch(fetcher, coded()).await.unwrap();
    });
}

/// Publishes the coded capsule and kills its holders. Returns a dossier with a false plan, the true
/// one, and all fragments but the first.
async fn forge(world: &mut World) -> (Dossier, Dossier, Vec<(HeldPiece, Vec<u8>)>) {
    let made = coded();
    world.publish(0, made).await.unwrap();
    let hash = made.record.hash;
    let holders = world.holders(made);
    let dossier = world.place(0).memory.dossier(&hash).unwrap().unwrap();
    let mut fragments = Vec::new();
    for holder in &holders {
        let memory = world.place(*holder).memory;
        for held in memory.list_fragments(&hash).unwrap() {
            let is_known = fragments.iter().any(|(f, _): &(HeldPiece, _)| f.piece == held.piece);
            if !matches!(held.piece, Piece::Whole | Piece::Index(0)) && !is_known {
                fragments.push((held, read_all(&*memory.read_fragment(&held).unwrap())));
            }
        }
    }
    assert!(fragments.len() >= 16, "enough without the first");
    (0..12).for_each(|index| world.kill(index));
    let plan = falsified(&Plan::parse(&dossier.plan).unwrap()).render().into_bytes();
    let plan_signatures = creator().sign(&plan);
    let lie = Dossier { plan, plan_signatures, ..dossier.clone() };
    (lie, dossier, fragments)
}
