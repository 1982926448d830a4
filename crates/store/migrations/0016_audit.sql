-- Who asked for what. Rows are only ever added: what is asked before it is begun, what became of it
-- after. A request without an outcome was cut off by the end of its server.

INSERT INTO counter (name, value) VALUES ('audit', 0);

CREATE TABLE audit_request (
    sequence BIGINT PRIMARY KEY,
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

CREATE TABLE audit_outcome (
    request TEXT PRIMARY KEY REFERENCES audit_request (request),
    answered_at BIGINT NOT NULL,
    status BIGINT NOT NULL,
    -- The kind of problem, if it was refused or failed.
    problem TEXT,
    -- What was made.
    location TEXT
);
