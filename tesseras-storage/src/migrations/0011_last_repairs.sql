-- Format 11. The last repair of each tessera, for people: who did it, when, and why.
CREATE TABLE last_repairs (
    tessera BLOB NOT NULL PRIMARY KEY CHECK (length(tessera) = 32),
    node BLOB NOT NULL CHECK (length(node) = 20),
    -- Seconds since 1970.
    date INTEGER NOT NULL CHECK (date >= 0),
    pieces INTEGER NOT NULL CHECK (pieces >= 0),
    silent INTEGER NOT NULL CHECK (silent >= 0),
    -- Only known of the repairs of this node.
    reason TEXT CHECK (reason IN ('asked', 'endangered', 'turn'))
) STRICT, WITHOUT ROWID;
