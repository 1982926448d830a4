-- One text for SQLite and PostgreSQL. Ids are hyphenated UUIDs, times are milliseconds since the
-- Unix epoch, flags are 0 or 1, IPv4 addresses are their 32 bits as a number, compound values are
-- JSON, sealed secrets are base64.

-- Numbers handed out one after the other. Updating a row here also serves as the lock that makes
-- its writers take turns until they commit.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('event', 0), ('boot_address', 0);

CREATE TABLE project (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    project TEXT NOT NULL REFERENCES project (id),
    secret_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE image (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    message TEXT,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    virtual_size BIGINT,
    data_bytes BIGINT,
    default_user TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE flavor (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hardware TEXT NOT NULL
);

CREATE TABLE network (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    vlan BIGINT NOT NULL UNIQUE,
    subnet TEXT NOT NULL,
    gateway BIGINT,
    dns TEXT NOT NULL,
    pool_first BIGINT NOT NULL,
    pool_last BIGINT NOT NULL,
    mtu BIGINT NOT NULL,
    -- Orders so far. Raising it is the lock under which an address of this network is chosen.
    orders BIGINT NOT NULL
);

CREATE TABLE key_pair (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE node (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    bmc_url TEXT NOT NULL UNIQUE,
    bmc_username TEXT NOT NULL,
    bmc_password TEXT NOT NULL,
    bmc_trust TEXT NOT NULL,
    ports TEXT NOT NULL,
    port_control TEXT NOT NULL,
    -- What is wanted. Written on behalf of people.
    goal TEXT NOT NULL,
    goal_kind TEXT NOT NULL,
    generation BIGINT NOT NULL,
    -- Two orders can never share a node, nor two nodes a server.
    server TEXT UNIQUE,
    -- Where it is. Written by whoever holds the claim, and by nobody else. The columns below
    -- `state` repeat parts of it for WHERE clauses.
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    at_rest BIGINT NOT NULL,
    clean BIGINT NOT NULL,
    -- What has been seen.
    identity TEXT,
    inventory TEXT,
    os_up BIGINT,
    -- When it is due (never, if null), and who is at work on it.
    due_at BIGINT,
    news BIGINT NOT NULL,
    owner TEXT,
    lease_until BIGINT NOT NULL,
    fence BIGINT NOT NULL
);
CREATE INDEX node_by_due_at ON node (due_at, id);
CREATE INDEX node_by_creation ON node (created_at, id);
CREATE INDEX node_by_phase ON node (phase, created_at, id);

-- Repeats the addresses in `node.ports`, to make them unique over all nodes.
CREATE TABLE mac_address (
    mac TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL REFERENCES node (id) ON DELETE CASCADE
);
CREATE INDEX mac_address_by_node ON mac_address (node);

CREATE TABLE intent (
    node TEXT NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    intent_key TEXT NOT NULL,
    -- Rises with every intent of the node: the highest is the newest.
    sequence BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    executor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- pending, done, failed or superseded
    status TEXT NOT NULL,
    failure TEXT,
    created_at BIGINT NOT NULL,
    closed_at BIGINT,
    PRIMARY KEY (node, intent_key),
    UNIQUE (node, sequence)
);

CREATE TABLE history (
    node TEXT NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL,
    reached_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (node, sequence)
);

-- The one boot of the agent that a node is allowed at present.
CREATE TABLE boot (
    id TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL UNIQUE REFERENCES node (id) ON DELETE CASCADE,
    mac TEXT NOT NULL UNIQUE,
    address BIGINT NOT NULL UNIQUE,
    session TEXT UNIQUE,
    last_seen BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE server (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    flavor TEXT NOT NULL REFERENCES flavor (id),
    image TEXT NOT NULL REFERENCES image (id),
    network TEXT NOT NULL REFERENCES network (id),
    address BIGINT NOT NULL,
    node TEXT NOT NULL UNIQUE REFERENCES node (id),
    keys TEXT NOT NULL,
    user_data TEXT,
    plan TEXT NOT NULL,
    boots_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    active_at BIGINT,
    UNIQUE (project, name),
    UNIQUE (network, address)
);
CREATE INDEX server_by_creation ON server (created_at, id);
CREATE INDEX server_by_image ON server (image);

CREATE TABLE idempotency (
    project TEXT NOT NULL REFERENCES project (id),
    request_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    server TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, request_key)
);
CREATE INDEX idempotency_by_creation ON idempotency (created_at);

CREATE TABLE event (
    sequence BIGINT NOT NULL PRIMARY KEY,
    happened_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    node TEXT,
    server TEXT,
    project TEXT,
    message TEXT NOT NULL,
    data TEXT NOT NULL
);
