-- Format 6. That a piece's bytes were found damaged is known after a restart, too.
ALTER TABLE fragments ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0 CHECK (damaged IN (0, 1));
