//! The recorded holders of a tessera.

use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{HoldingRepository as _, MAX_KNOWN_HOLDERS};
use tesseras_core::time::Timestamp;

use crate::things::open;

const NOW: Timestamp = Timestamp(1_700_000_000);

fn contact(first: u8, n: u8, net: u8) -> Contact {
    let mut id = [0; 20];
    (id[0], id[1]) = (first, n);
    Contact { id: NodeId::new(id), addresses: vec![([8, 8, net, 1], 7).into()] }
}

#[test]
fn many_names_of_one_neighbourhood_displace_no_other_holder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tessera = TesseraHash::new([3; 32]);
    let honest: Vec<Contact> = (0..24).map(|n| contact(200, n, 10 + n)).collect();
    // All attest in one survey, and the ids of the names come first.
    let names = (0..=255).map(|n| contact(0, n, 1));
    let seen: Vec<Contact> = honest.iter().cloned().chain(names).collect();
    store.holdings().remember_holders(&tessera, &seen, NOW).unwrap();
    let known = store.holdings().known_holders(&tessera).unwrap();
    let is_honest = |contact: &Contact| honest.iter().any(|honest| honest.id == contact.id);
    assert_eq!(known.len(), MAX_KNOWN_HOLDERS);
    assert_eq!(known.iter().filter(|known| is_honest(&known.contact)).count(), 24);
}
