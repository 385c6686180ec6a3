-- Networks and volumes.

CREATE TABLE networks (
    id      TEXT PRIMARY KEY CHECK (length(id) = 64),
    name    TEXT NOT NULL UNIQUE CHECK (length(name) > 0),
    driver  TEXT NOT NULL,
    created INTEGER NOT NULL,
    config  TEXT NOT NULL                        -- JSON: subnets, options, labels; see core's networks/record.rs
) STRICT, WITHOUT ROWID;

-- Which networks a container is in, whether it runs or not.
CREATE TABLE endpoints (
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    network   TEXT NOT NULL REFERENCES networks (id),
    id        TEXT NOT NULL,                     -- the endpoint's ID, as the API shows it
    position  INTEGER NOT NULL,                  -- eth0 is the first one's
    settings  TEXT NOT NULL,                     -- JSON: what was asked for (addresses, aliases, ...)
    PRIMARY KEY (container, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoints_network ON endpoints (network);

-- An address has one owner in a network because this table says so. A lease stays with a container that has ended until
-- somebody else needs the address: who finds a holder that does not run may take it.
CREATE TABLE addresses (
    network   TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    address   BLOB NOT NULL,                     -- 4 or 16 bytes
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    PRIMARY KEY (network, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_container ON addresses (container);

-- Public ports, of containers that run or have run; taken over as addresses are.
CREATE TABLE ports (
    protocol       TEXT NOT NULL CHECK (protocol IN ('tcp', 'udp', 'sctp')),
    port           INTEGER NOT NULL,
    address        BLOB NOT NULL,                -- 4 or 16 bytes; all zero: every address of its family
    container      TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    container_port INTEGER NOT NULL,
    PRIMARY KEY (protocol, port, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX ports_container ON ports (container);

CREATE TABLE volumes (
    name      TEXT PRIMARY KEY CHECK (length(name) > 0),
    driver    TEXT NOT NULL,                     -- `local`, or a plugin's name
    created   INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    phase     TEXT NOT NULL CHECK (phase IN ('creating', 'ready', 'removing')),
    options   TEXT NOT NULL,                     -- JSON: the driver's
    labels    TEXT NOT NULL                      -- JSON
) STRICT, WITHOUT ROWID;

-- Who uses a volume, whether it runs or not: it cannot be removed while there is a row.
CREATE TABLE volume_uses (
    volume    TEXT NOT NULL REFERENCES volumes (name),
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    PRIMARY KEY (volume, container)
) STRICT, WITHOUT ROWID;
CREATE INDEX volume_uses_container ON volume_uses (container);

-- The networks that every state has. The bridge gets its subnet when it is first used.
INSERT INTO networks (id, name, driver, created, config)
SELECT lower(hex(randomblob(32))), name, driver, CAST(strftime('%s', 'now') AS INTEGER) * 1000000000, config
FROM (
    SELECT 'bridge' AS name, 'bridge' AS driver, '{"ipv4":true,"automatic":true}' AS config
    UNION ALL SELECT 'host', 'host', '{"ipv4":true}'
    UNION ALL SELECT 'none', 'null', '{"ipv4":true}'
);
