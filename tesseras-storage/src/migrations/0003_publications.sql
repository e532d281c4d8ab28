-- Format 3. How far a tessera was published: 0 a draft, 1 being published in the background,
-- 2 published. Until now everything of which a plan was kept counted as published.
ALTER TABLE dossiers ADD COLUMN
    publication INTEGER NOT NULL DEFAULT 0 CHECK (publication IN (0, 1, 2));
UPDATE dossiers SET publication = 2
    WHERE tessera IN (SELECT tessera FROM fragments) OR tessera IN (SELECT tessera FROM placements);
