//! What an owner can do when other nodes have too little room for a tessera.

use tesseras_replication::causes::Causes;

/// One sentence: whom to ask for what, and how much space to offer in return.
pub(crate) fn hint(causes: &Causes) -> String {
    let Some(best) = causes.short.first() else {
        return "look at `tes peers`; give tesd more nodes to begin with (--bootstrap), or try later"
            .to_owned();
    };
    let needed = causes.bytes_per_node;
    let address = best.contact.addresses.first();
    let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
    format!(
        "offer space: with storage_limit, tesd on this machine should keep at least {} for others, \
         since a node takes more from one that keeps something for it; or ask the owner of node \
         {}{at}, which has room for {} of the {} that it would have to take, to raise \
         deficit_allowance, per_peer_limit or storage_limit",
        mebibytes(causes.lacking),
        best.contact.id,
        mebibytes_down(best.room),
        mebibytes(needed),
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn mebibytes_down(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use tesseras_core::contact::Contact;
    use tesseras_core::ids::NodeId;
    use tesseras_replication::causes::Short;

    use super::*;

    #[test]
    fn a_hint_names_a_node_and_how_much_space_to_offer() {
        let short = |number: u8, mib: u64| {
            let address = format!("192.0.2.{number}:7310").parse().expect("an address");
            let contact = Contact { id: NodeId::new([number; 20]), addresses: vec![address] };
            Short { contact, room: mib << 20 }
        };
        let bytes_per_node = 300 << 20;
        let causes = Causes {
            bytes_per_node,
            lacking: 560 << 20,
            short: vec![short(1, 40), short(2, 0)],
            ..Causes::default()
        };
        let hint = hint(&causes);
        assert!(hint.contains("at least 560 MiB"), "{hint}");
        let asked =
            format!("node {} at 192.0.2.1:7310, which has room for 40 MiB", "01".repeat(20));
        assert!(hint.contains(&asked) && hint.contains("of the 300 MiB"), "{hint}");
        assert!(super::hint(&Causes::default()).contains("--bootstrap"));
    }
}
