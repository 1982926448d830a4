-- Fewer indexes, each of which cost a page of the log at every step of a node.
--
-- What stands between /*sqlite and sqlite*/ is for SQLite alone: PostgreSQL takes it for a comment.

-- What is asked for of a node's intents is the newest. Only that one can be pending, so none needs to be found
-- by its key or its status. A key that comes again is another intent.
CREATE TABLE newer_intent (
    node TEXT NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    -- Rises with every intent of the node: the highest is the newest.
    sequence BIGINT NOT NULL,
    intent_key TEXT NOT NULL,
    generation BIGINT NOT NULL,
    executor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- pending, done, failed, deferred or superseded
    status TEXT NOT NULL,
    failure TEXT,
    created_at BIGINT NOT NULL,
    closed_at BIGINT,
    PRIMARY KEY (node, sequence)
) /*sqlite WITHOUT ROWID sqlite*/;
INSERT INTO newer_intent (node, sequence, intent_key, generation, executor, action, status, failure, created_at,
    closed_at)
    SELECT node, sequence, intent_key, generation, executor, action, status, failure, created_at, closed_at
    FROM intent;
DROP TABLE intent;
ALTER TABLE newer_intent RENAME TO intent;

-- The one boot of the agent that a node is allowed at present: of which node that is says where it is. Whose a NIC
-- is says `mac_address`.
CREATE TABLE newer_boot (
    node TEXT NOT NULL PRIMARY KEY REFERENCES node (id) ON DELETE CASCADE,
    id TEXT NOT NULL UNIQUE,
    mac TEXT NOT NULL,
    address BIGINT NOT NULL UNIQUE,
    -- A digest of the secret that its agent shows, once it has called.
    session TEXT UNIQUE,
    last_seen BIGINT,
    created_at BIGINT NOT NULL,
    method TEXT NOT NULL,
    media_inserted BIGINT NOT NULL DEFAULT 0,
    relay TEXT,
    ramdisk TEXT,
    outdated BIGINT NOT NULL DEFAULT 0
) /*sqlite WITHOUT ROWID sqlite*/;
INSERT INTO newer_boot (node, id, mac, address, session, last_seen, created_at, method, media_inserted, relay, ramdisk,
    outdated)
    SELECT node, id, mac, address, session, last_seen, created_at, method, media_inserted, relay, ramdisk, outdated
    FROM boot;
DROP TABLE boot;
ALTER TABLE newer_boot RENAME TO boot;

-- On SQLite, a NIC's row stands in the index by which it is found.
/*sqlite
CREATE TABLE newer_mac_address (
    mac TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL REFERENCES node (id) ON DELETE CASCADE
) WITHOUT ROWID;
INSERT INTO newer_mac_address (mac, node) SELECT mac, node FROM mac_address;
DROP TABLE mac_address;
ALTER TABLE newer_mac_address RENAME TO mac_address;
CREATE INDEX mac_address_by_node ON mac_address (node);
sqlite*/

-- Most nodes of a small site stand in no rack.
DROP INDEX node_by_rack;
CREATE INDEX node_by_rack ON node (rack) WHERE rack IS NOT NULL;

-- On SQLite, the number of a row is its place in the table (<https://www.sqlite.org/lang_createtable.html#rowid>):
-- one after the other, without a gap, since there is one writer. On PostgreSQL, rows of `counter` give them.
/*sqlite
CREATE TABLE newer_event (
    sequence INTEGER PRIMARY KEY,
    happened_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    node TEXT,
    server TEXT,
    project TEXT,
    message TEXT NOT NULL,
    data TEXT NOT NULL
);
INSERT INTO newer_event (sequence, happened_at, kind, node, server, project, message, data)
    SELECT sequence, happened_at, kind, node, server, project, message, data FROM event ORDER BY sequence;
DROP TABLE event;
ALTER TABLE newer_event RENAME TO event;

CREATE TABLE newer_address_history (
    sequence INTEGER PRIMARY KEY,
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
INSERT INTO newer_address_history (sequence, address, subnet, number, network, network_name, project, server,
    server_name, node, since, until)
    SELECT sequence, address, subnet, number, network, network_name, project, server, server_name, node, since, until
    FROM address_history ORDER BY sequence;
DROP TABLE address_history;
ALTER TABLE newer_address_history RENAME TO address_history;
CREATE INDEX address_history_by_address ON address_history (address, sequence);
CREATE INDEX address_history_by_subnet ON address_history (subnet, number, until);
CREATE INDEX address_history_by_server ON address_history (server, sequence);
CREATE INDEX address_history_by_end ON address_history (until);

CREATE TABLE newer_audit_request (
    sequence INTEGER PRIMARY KEY,
    -- As the answer and the log name it.
    request TEXT NOT NULL UNIQUE,
    asked_at BIGINT NOT NULL,
    -- The token, its name, role and project as they were: it may be revoked since.
    token TEXT NOT NULL,
    token_name TEXT NOT NULL,
    role TEXT NOT NULL,
    project TEXT NOT NULL,
    method TEXT NOT NULL,
    -- Without its query.
    path TEXT NOT NULL,
    -- The address that the connection came from.
    peer TEXT
);
INSERT INTO newer_audit_request (sequence, request, asked_at, token, token_name, role, project, method, path, peer)
    SELECT sequence, request, asked_at, token, token_name, role, project, method, path, peer
    FROM audit_request ORDER BY sequence;
CREATE TABLE newer_audit_outcome (
    request TEXT PRIMARY KEY REFERENCES newer_audit_request (request),
    answered_at BIGINT NOT NULL,
    status BIGINT NOT NULL,
    -- The kind of problem, if it was refused or failed.
    problem TEXT,
    -- What was made.
    location TEXT
) WITHOUT ROWID;
INSERT INTO newer_audit_outcome (request, answered_at, status, problem, location)
    SELECT request, answered_at, status, problem, location FROM audit_outcome;
DROP TABLE audit_outcome;
DROP TABLE audit_request;
ALTER TABLE newer_audit_request RENAME TO audit_request;
ALTER TABLE newer_audit_outcome RENAME TO audit_outcome;

DELETE FROM counter WHERE name IN ('event', 'address_history', 'audit');
sqlite*/
