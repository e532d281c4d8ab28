-- Format 5. Peers that did not answer are asked last, also after a restart.
ALTER TABLE peers ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE peers ADD COLUMN silent_until INTEGER NOT NULL DEFAULT 0;
