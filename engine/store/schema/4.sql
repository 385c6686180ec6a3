-- The platform of the container's image (OS/ARCHITECTURE[/VARIANT]), which may be gone since; NULL: the host's when it was
-- made.
ALTER TABLE containers ADD COLUMN platform TEXT;

-- Who its users and groups are on the host, as mount(8) takes it for X-mount.idmap; NULL: the host's.
ALTER TABLE containers ADD COLUMN users TEXT;

-- Layers without a diff ID that give all files of an image to such users, where no mount maps owners. Containers stand on
-- them. One is kept for the next container as long as there is the image.
CREATE TABLE given_layers (
    layer INTEGER PRIMARY KEY REFERENCES layers (number) ON DELETE CASCADE,
    base  INTEGER NOT NULL,                      -- the image's topmost layer; 0 for an image of no layers
    users TEXT NOT NULL,
    UNIQUE (base, users)
) STRICT;
