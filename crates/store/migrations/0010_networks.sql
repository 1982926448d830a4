-- Networks of several kinds and owners, with any number of subnets of either IP version; servers on
-- several networks; and who had which address when.

-- Raised by whoever makes or changes a network or a subnet: the lock under which their names,
-- VLANs and subnets are compared and chosen. And the numbers of the lines of `address_history`.
INSERT INTO counter (name, value) VALUES ('network', 0), ('address_history', 0);

CREATE TABLE network_next (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    -- Whose it is, if its scope is `private`.
    project TEXT REFERENCES project (id),
    vlan BIGINT UNIQUE,
    vni BIGINT UNIQUE,
    mtu BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- When the networks from before were made is not known: before anything happened.
INSERT INTO network_next (id, name, kind, scope, project, vlan, vni, mtu, created_at)
SELECT id, name, 'vlan', 'public', CAST(NULL AS TEXT), vlan, CAST(NULL AS BIGINT), mtu,
    COALESCE((SELECT MIN(happened_at) FROM event), 0)
FROM network;

CREATE TABLE subnet (
    id TEXT NOT NULL PRIMARY KEY,
    network TEXT NOT NULL REFERENCES network_next (id) ON DELETE CASCADE,
    cidr TEXT NOT NULL,
    gateway TEXT,
    dns TEXT NOT NULL,
    routes TEXT NOT NULL,
    pools TEXT NOT NULL,
    -- Where the next address is looked for: after the one that was given last, so that an address
    -- rests for as long as there are others. As `address.number`.
    next_number BIGINT NOT NULL,
    -- Addresses given so far. Raising it is the lock under which one is chosen.
    orders BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (network, cidr)
);
CREATE INDEX subnet_by_creation ON subnet (created_at, id);

-- A network from before has one subnet, with the network's own id; its addresses become text.
INSERT INTO subnet (id, network, cidr, gateway, dns, routes, pools, next_number, orders, created_at)
SELECT id, id, subnet,
    CAST(gateway / 16777216 AS TEXT) || '.' || CAST(gateway / 65536 % 256 AS TEXT) || '.' ||
    CAST(gateway / 256 % 256 AS TEXT) || '.' || CAST(gateway % 256 AS TEXT),
    dns, '[]',
    '[{"first":"' ||
    CAST(pool_first / 16777216 AS TEXT) || '.' || CAST(pool_first / 65536 % 256 AS TEXT) || '.' ||
    CAST(pool_first / 256 % 256 AS TEXT) || '.' || CAST(pool_first % 256 AS TEXT) ||
    '","last":"' ||
    CAST(pool_last / 16777216 AS TEXT) || '.' || CAST(pool_last / 65536 % 256 AS TEXT) || '.' ||
    CAST(pool_last / 256 % 256 AS TEXT) || '.' || CAST(pool_last % 256 AS TEXT) || '"}]',
    pool_first, orders, COALESCE((SELECT MIN(happened_at) FROM event), 0)
FROM network;

CREATE TABLE server_next (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    flavor TEXT NOT NULL REFERENCES flavor (id),
    image TEXT NOT NULL REFERENCES image (id),
    node TEXT NOT NULL UNIQUE REFERENCES node (id),
    keys TEXT NOT NULL,
    user_data TEXT,
    plan TEXT NOT NULL,
    posts_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    active_at BIGINT,
    rebuilt_at BIGINT,
    UNIQUE (project, name)
);

INSERT INTO server_next (id, project, name, flavor, image, node, keys, user_data, plan,
    posts_before, created_at, active_at, rebuilt_at)
SELECT id, project, name, flavor, image, node, keys, user_data, plan, posts_before, created_at,
    active_at, rebuilt_at
FROM server;

-- The networks that a server is on, in the order in which they were asked for.
CREATE TABLE server_attachment (
    server TEXT NOT NULL REFERENCES server_next (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    network TEXT NOT NULL REFERENCES network_next (id),
    -- The port (by MAC address) or port group that was asked for; chosen if null.
    port TEXT,
    -- native or tagged, if that was asked for.
    mode TEXT,
    PRIMARY KEY (server, position),
    UNIQUE (server, network)
);
CREATE INDEX server_attachment_by_network ON server_attachment (network);

INSERT INTO server_attachment (server, position, network, port, mode)
SELECT id, 0, network, CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM server;

-- Addresses that are not free: a server's, or reserved.
CREATE TABLE address (
    subnet TEXT NOT NULL REFERENCES subnet (id),
    -- IPv4: its 32 bits. IPv6: its last 64 bits, as a signed number.
    number BIGINT NOT NULL,
    network TEXT NOT NULL REFERENCES network_next (id),
    -- Whose it is; null if an operator keeps it from everybody.
    project TEXT REFERENCES project (id),
    server TEXT REFERENCES server_next (id),
    -- 1: stays reserved when its server is gone.
    reserved BIGINT NOT NULL,
    -- 1: in one of its subnet's pools.
    in_pool BIGINT NOT NULL,
    description TEXT NOT NULL,
    -- Since when it is as it is.
    since BIGINT NOT NULL,
    PRIMARY KEY (subnet, number)
);
CREATE INDEX address_by_server ON address (server);
CREATE INDEX address_by_since ON address (since, subnet, number);

INSERT INTO address (subnet, number, network, project, server, reserved, in_pool, description, since)
SELECT server.network, server.address, server.network, server.project, server.id, 0,
    CASE WHEN server.address >= network.pool_first AND server.address <= network.pool_last
        THEN 1 ELSE 0 END,
    '', server.created_at
FROM server JOIN network ON network.id = server.network;

-- Who had an address when. Names nothing by reference: it outlives servers, subnets and networks.
CREATE TABLE address_history (
    sequence BIGINT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    subnet TEXT NOT NULL,
    number BIGINT NOT NULL,
    network TEXT NOT NULL,
    network_name TEXT NOT NULL,
    project TEXT,
    server TEXT,
    server_name TEXT,
    node TEXT,
    since BIGINT NOT NULL,
    until BIGINT
);
CREATE INDEX address_history_by_address ON address_history (address, sequence);
CREATE INDEX address_history_by_subnet ON address_history (subnet, number, until);
CREATE INDEX address_history_by_server ON address_history (server, sequence);
CREATE INDEX address_history_by_end ON address_history (until);

INSERT INTO address_history (sequence, address, subnet, number, network, network_name, project,
    server, server_name, node, since, until)
SELECT (SELECT COUNT(*) FROM server AS earlier WHERE earlier.id <= server.id),
    CAST(server.address / 16777216 AS TEXT) || '.' ||
    CAST(server.address / 65536 % 256 AS TEXT) || '.' ||
    CAST(server.address / 256 % 256 AS TEXT) || '.' || CAST(server.address % 256 AS TEXT),
    server.network, server.address, server.network, network.name, server.project,
    server.id, server.name, server.node, server.created_at, CAST(NULL AS BIGINT)
FROM server JOIN network ON network.id = server.network;
UPDATE counter SET value = (SELECT COUNT(*) FROM server) WHERE name = 'address_history';

DROP TABLE server;
DROP TABLE network;
ALTER TABLE network_next RENAME TO network;
ALTER TABLE server_next RENAME TO server;

-- A project's own names are its own; those of public and shared networks are everybody's.
CREATE UNIQUE INDEX network_by_name ON network ((COALESCE(project, '')), name);
CREATE INDEX network_by_creation ON network (created_at, id);
CREATE INDEX server_by_creation ON server (created_at, id);
CREATE INDEX server_by_image ON server (image);
