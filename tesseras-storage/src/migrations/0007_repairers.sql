-- Format 7. Who placed a piece that is charged to the repair share, so that no node or neighbourhood
-- fills it alone. It is not known of pieces that were stored before.
ALTER TABLE fragments ADD COLUMN repair_peer BLOB CHECK (length(repair_peer) = 20);
ALTER TABLE fragments ADD COLUMN repair_subnet TEXT;
CREATE INDEX fragments_by_repair_peer ON fragments (repair_peer, bytes)
    WHERE repair_peer IS NOT NULL;
CREATE INDEX fragments_by_repair_subnet ON fragments (repair_subnet, bytes)
    WHERE repair_subnet IS NOT NULL;
