-- Format 9. What is still to be removed: files of objects that lost their last reference, and signature
-- files of capsules that are not listed any more. An interrupted removal is continued.
CREATE TABLE object_removals (
    object BLOB NOT NULL PRIMARY KEY CHECK (length(object) = 32)
) STRICT, WITHOUT ROWID;
CREATE TABLE signature_file_removals (
    tessera BLOB NOT NULL PRIMARY KEY CHECK (length(tessera) = 32)
) STRICT, WITHOUT ROWID;
-- The capsules that could not be listed again when the library was rebuilt: what is left of them is not
-- garbage.
CREATE TABLE incomplete (
    tessera BLOB NOT NULL PRIMARY KEY CHECK (length(tessera) = 32)
) STRICT, WITHOUT ROWID;
