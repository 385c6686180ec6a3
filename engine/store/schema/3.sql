-- What a container has mounted where, settled when it was made: names of anonymous volumes, what came by volumes-from.
-- JSON, see core's settings/mounts.rs; NULL if the container's host_config says it all.
ALTER TABLE containers ADD COLUMN mounts TEXT;

-- `creating` and `removing` volumes belong to whoever holds the volume's lock; when that is free, the next engine removes
-- them.
CREATE INDEX volumes_unsettled ON volumes (phase) WHERE phase <> 'ready';
