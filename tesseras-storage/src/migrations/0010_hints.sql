-- Format 10. Holders that others only named are told from those that were seen: 0 seen, 1 named by who
-- placed a piece, 2 named by a stranger. Of what was recorded before, nobody knows which it is; it is
-- dropped unless it is seen within 30 days.
ALTER TABLE holders ADD COLUMN hint INTEGER NOT NULL DEFAULT 0 CHECK (hint IN (0, 1, 2));
