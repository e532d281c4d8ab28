-- Format 12. That stored bytes are damaged is recorded with the object, whoever refers to it: a piece, a
-- dossier or a capsule of the library.
ALTER TABLE objects ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0 CHECK (damaged IN (0, 1));
UPDATE objects SET damaged = 1
    WHERE hash IN (SELECT checksum FROM fragments WHERE damaged = 1);
ALTER TABLE fragments DROP COLUMN damaged;
CREATE INDEX objects_damaged ON objects (hash) WHERE damaged = 1;
-- How far the scrub is that reads every object in the order of the hashes.
CREATE TABLE scrub (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    -- Seconds since 1970.
    begun    INTEGER NOT NULL CHECK (begun >= 0),
    -- The last object that was read; nothing at the beginning.
    after    BLOB CHECK (length(after) = 32),
    -- Read in this round.
    bytes    INTEGER NOT NULL CHECK (bytes >= 0),
    complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT;
