//! Attestations are claims, and no tessera is left to the claims of the same holders for ever.

use crate::capsules::coded;
use crate::world::simulate;

#[test]
fn a_tessera_whose_recorded_holders_attest_everything_is_still_surveyed_in_time() {
    simulate(120..122, 40, async |world| {
        world.publish(0, coded()).await.unwrap();
        let by = world.holders(coded())[0];
        world.repair(by, coded()).await.unwrap();
        let mut in_a_row = 0;
        let mut surveys = 0;
        for round in 1..=21 {
            let before = world.answered("offer");
            world.repair_each(by).await;
            // Only a full survey asks nodes near the key what they would hold.
            if world.answered("offer") > before {
                (in_a_row, surveys) = (0, surveys + 1);
            } else {
                in_a_row += 1;
            }
            assert!(in_a_row < 7, "round {round}: {in_a_row} checks in a row ended with claims");
        }
        assert_eq!(surveys, 3, "the other checks ask only the recorded holders");
    });
}
