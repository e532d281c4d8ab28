-- Format 3. How far tesserae are published: 1 confirmed to this node as a holder, 2 published from
-- here, 4 wanted in the background, summed up. Until now everything of which a plan was kept
-- counted as published.
CREATE TABLE publications (
    tessera BLOB NOT NULL PRIMARY KEY CHECK (length(tessera) = 32),
    state   INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7)
) STRICT, WITHOUT ROWID;
INSERT INTO publications
    SELECT tessera, MAX(held) + 2 * MAX(placed) FROM (
        SELECT tessera, 1 AS held, 0 AS placed FROM fragments
        UNION ALL SELECT tessera, 0, 1 FROM placements)
    GROUP BY tessera;
