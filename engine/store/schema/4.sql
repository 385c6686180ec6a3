-- Names of images by digest, `repository@digest`: the digest is of the manifest, or of the index that led to it, as a registry
-- has it.
CREATE TABLE digests (
    repository TEXT NOT NULL,                    -- normalised, as in tags
    digest     TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX digests_image ON digests (image);

-- In which form registries have a layer's archive: a push that finds it there sends nothing. A note and no promise.
CREATE TABLE blobs (
    diff_id    TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL,                 -- bytes of the blob
    media_type TEXT NOT NULL,
    seen       INTEGER NOT NULL,
    PRIMARY KEY (diff_id, repository)
) STRICT, WITHOUT ROWID;

-- When a pull took a layer into its hands that no image has yet. What is complete of it (it has a diff_id) is kept for the next
-- pull for a day, even where it is still `open` because a layer below is missing.
ALTER TABLE layers ADD COLUMN kept INTEGER;
-- Whether its root directory is to get the attributes of the layer below, once that is complete.
ALTER TABLE layers ADD COLUMN inherits INTEGER NOT NULL DEFAULT 0;
CREATE INDEX layers_kept ON layers (kept) WHERE kept IS NOT NULL;
