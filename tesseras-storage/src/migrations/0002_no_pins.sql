-- Format 2. Pieces of unfinished tasks are files in tmp/ from now on, and no objects. What was
-- pinned is forgotten: it can be had again.
CREATE TABLE unnamed AS
    SELECT object FROM pins JOIN objects ON hash = object GROUP BY object HAVING COUNT(*) = refs;
UPDATE objects SET refs = refs - (SELECT COUNT(*) FROM pins WHERE object = hash)
    WHERE hash IN (SELECT object FROM pins) AND hash NOT IN (SELECT object FROM unnamed);
DROP TABLE pins;
DELETE FROM objects WHERE hash IN (SELECT object FROM unnamed);
DROP TABLE unnamed;
