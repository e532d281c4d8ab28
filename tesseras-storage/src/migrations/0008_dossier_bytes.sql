-- Format 8. A dossier is charged to whoever placed the first piece of its tessera; of what was stored
-- before, to whoever placed the first one in the order of pieces.
ALTER TABLE fragments ADD COLUMN dossier_bytes INTEGER NOT NULL DEFAULT 0
    CHECK (dossier_bytes >= 0);
UPDATE fragments SET dossier_bytes = COALESCE(
        (SELECT objects.bytes + length(manifest_ed25519_signature)
                + length(manifest_ml_dsa_65_signature) + length(ed25519_pem) + length(ml_dsa_65_pem)
                + length(plan) + length(plan_ed25519_signature) + length(plan_ml_dsa_65_signature)
         FROM dossiers JOIN objects ON hash = dossiers.tessera
         WHERE dossiers.tessera = fragments.tessera), 0)
    WHERE piece = (SELECT MIN(piece) FROM fragments AS held WHERE held.tessera = fragments.tessera);
DROP INDEX fragments_by_charge;
DROP INDEX fragments_by_repair_peer;
DROP INDEX fragments_by_repair_subnet;
CREATE INDEX fragments_by_charge
    ON fragments (charge_peer, charge_subnet, bytes, dossier_bytes);
CREATE INDEX fragments_by_repair_peer ON fragments (repair_peer, bytes, dossier_bytes)
    WHERE repair_peer IS NOT NULL;
CREATE INDEX fragments_by_repair_subnet ON fragments (repair_subnet, bytes, dossier_bytes)
    WHERE repair_subnet IS NOT NULL;
