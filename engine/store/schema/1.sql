-- Invariants are constraints: a container name, a tag and a chain have one owner because the tables say so. Times are
-- nanoseconds after the Unix epoch. A version that has been used is never edited: what changes comes in the next file.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A layer on disk: of an image (it has a chain ID) or of a container (it has none). `open` layers are being
-- made by whoever holds their lock; an open layer whose lock is free is left over and discarded.
CREATE TABLE layers (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given out twice; in base 36 the driver's name for it
    parent   INTEGER REFERENCES layers (number),
    chain_id TEXT UNIQUE,
    diff_id  TEXT,
    size     INTEGER NOT NULL DEFAULT 0,         -- bytes of file content in the layer
    archive  INTEGER NOT NULL DEFAULT 0,         -- bytes of its uncompressed archive
    state    TEXT NOT NULL CHECK (state IN ('open', 'valid', 'removing')),
    CHECK (state <> 'valid' OR (chain_id IS NULL) = (diff_id IS NULL))
) STRICT;
CREATE INDEX layers_parent ON layers (parent);
CREATE INDEX layers_unsettled ON layers (state) WHERE state <> 'valid';

CREATE TABLE images (
    id       TEXT PRIMARY KEY,                   -- sha256:... of the config
    layer    INTEGER REFERENCES layers (number), -- the topmost one; NULL for an image of no layers
    config   BLOB NOT NULL,                      -- the exact bytes of the OCI image config
    manifest BLOB,                               -- the manifest it came with, if any
    parent   TEXT,                               -- the image it was committed on, which may be gone since
    created  INTEGER NOT NULL,                   -- when it came into this store
    size     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_layer ON images (layer);
CREATE INDEX images_parent ON images (parent);

CREATE TABLE tags (
    repository TEXT NOT NULL,                    -- normalised: docker.io/library/debian
    tag        TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES images (id),
    tagged     INTEGER NOT NULL,                 -- when it was given
    PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_image ON tags (image);

-- `creating` and `removing` rows belong to whoever holds the container's lock; when that is free, the next
-- engine finishes the removal.
CREATE TABLE containers (
    id          TEXT PRIMARY KEY CHECK (length(id) = 64),
    name        TEXT NOT NULL UNIQUE CHECK (length(name) > 0),
    phase       TEXT NOT NULL CHECK (phase IN ('creating', 'ready', 'removing')),
    created     INTEGER NOT NULL,
    image       TEXT NOT NULL,                   -- its ID when the container was made; the image may be gone since
    layer       INTEGER REFERENCES layers (number),
    config      TEXT NOT NULL,                   -- JSON: the container's configuration as the API shows it
    host_config TEXT NOT NULL                    -- JSON
) STRICT;                                        -- long rows: by row ID they need no overflow pages
CREATE INDEX containers_layer ON containers (layer);
CREATE INDEX containers_unsettled ON containers (phase) WHERE phase <> 'ready';
