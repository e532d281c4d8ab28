-- Format 4. The signatures of every capsule of the library are also in library/, so that the
-- library can be listed again without this database. Here stands which of those files are still to
-- be written: for all capsules that were added before.
CREATE TABLE signature_files_due (
    tessera BLOB NOT NULL PRIMARY KEY REFERENCES tesserae (hash) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO signature_files_due SELECT hash FROM tesserae;
