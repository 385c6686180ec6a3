-- The platform of the container's image (OS/ARCHITECTURE[/VARIANT]), which may be gone since; NULL: the host's when it was
-- made.
ALTER TABLE containers ADD COLUMN platform TEXT;
