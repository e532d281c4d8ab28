-- Format 1. Hashes and ids are raw bytes; a piece is its index, or -1 for the whole pack, so that
-- the order of rows is the order of pieces; times are seconds since 1970.

-- Every stored file, and how many rows below name it. A row here is never without its file.
CREATE TABLE objects (
    hash  BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    refs  INTEGER NOT NULL CHECK (refs > 0)
) STRICT, WITHOUT ROWID;

-- Pieces held for others, each with whom it is charged to; nobody is the repair share.
CREATE TABLE fragments (
    tessera       BLOB NOT NULL CHECK (length(tessera) = 32),
    piece         INTEGER NOT NULL CHECK (piece BETWEEN -1 AND 254),
    checksum      BLOB NOT NULL REFERENCES objects (hash),
    bytes         INTEGER NOT NULL CHECK (bytes >= 0),
    charge_peer   BLOB CHECK (length(charge_peer) = 20),
    charge_subnet TEXT,
    PRIMARY KEY (tessera, piece),
    CHECK ((charge_peer IS NULL) = (charge_subnet IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX fragments_by_checksum ON fragments (checksum);
CREATE INDEX fragments_by_charge ON fragments (charge_peer, charge_subnet, bytes);

-- The library.
CREATE TABLE tesserae (
    hash                BLOB NOT NULL PRIMARY KEY REFERENCES objects (hash),
    title               TEXT NOT NULL,
    created             TEXT NOT NULL,
    creator             BLOB NOT NULL CHECK (length(creator) = 32),
    memories            INTEGER NOT NULL,
    files               INTEGER NOT NULL,
    bytes               INTEGER NOT NULL,
    ed25519_signature   BLOB NOT NULL,
    ml_dsa_65_signature BLOB NOT NULL,
    origin              INTEGER NOT NULL CHECK (origin IN (0, 1)),
    added               INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tessera_content (
    tessera BLOB NOT NULL REFERENCES tesserae (hash) ON DELETE CASCADE,
    object  BLOB NOT NULL REFERENCES objects (hash),
    PRIMARY KEY (tessera, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX tessera_content_by_object ON tessera_content (object);

-- What lives on several nodes. The MANIFEST is the object of the tessera's own hash.
CREATE TABLE dossiers (
    tessera                      BLOB NOT NULL PRIMARY KEY REFERENCES objects (hash),
    manifest_ed25519_signature   BLOB NOT NULL,
    manifest_ml_dsa_65_signature BLOB NOT NULL,
    ed25519_pem                  BLOB NOT NULL,
    ml_dsa_65_pem                BLOB NOT NULL,
    plan                         BLOB NOT NULL,
    plan_ed25519_signature       BLOB NOT NULL,
    plan_ml_dsa_65_signature     BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE holders (
    tessera   BLOB NOT NULL CHECK (length(tessera) = 32),
    node      BLOB NOT NULL CHECK (length(node) = 20),
    addresses TEXT NOT NULL,
    seen      INTEGER NOT NULL,
    PRIMARY KEY (tessera, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX holders_by_age ON holders (tessera, seen);
CREATE TABLE placements (
    tessera BLOB NOT NULL CHECK (length(tessera) = 32),
    piece   INTEGER NOT NULL CHECK (piece BETWEEN -1 AND 254),
    holder  BLOB NOT NULL CHECK (length(holder) = 20),
    bytes   INTEGER NOT NULL CHECK (bytes >= 0),
    placed  INTEGER NOT NULL,
    PRIMARY KEY (tessera, piece, holder)
) STRICT, WITHOUT ROWID;
CREATE INDEX placements_by_holder ON placements (holder, bytes);
CREATE TABLE blocked (
    tessera BLOB NOT NULL PRIMARY KEY CHECK (length(tessera) = 32),
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects of unfinished tasks, kept until the task on their tessera ends.
CREATE TABLE pins (
    tessera BLOB NOT NULL CHECK (length(tessera) = 32),
    object  BLOB NOT NULL REFERENCES objects (hash),
    pinned  INTEGER NOT NULL,
    PRIMARY KEY (tessera, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX pins_by_object ON pins (object);

-- Peers met.
CREATE TABLE peers (
    node      BLOB NOT NULL PRIMARY KEY CHECK (length(node) = 20),
    addresses TEXT NOT NULL,
    seen      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX peers_by_age ON peers (seen);
