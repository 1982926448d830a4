-- What each server has seen of nodes lately, for the other servers on the same database: a machine that
-- asked one for an address may be moved by another, which is to say why it does not come up. Written only
-- where there can be others, kept for an hour, and nothing is decided by it.
CREATE TABLE sighting (
    node TEXT NOT NULL,
    -- The server that saw it, by a number of its own that it has until it ends.
    seen_by TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    -- Serial consoles may say secrets of tenants: sealed.
    sealed TEXT NOT NULL,
    PRIMARY KEY (node, seen_by)
);
CREATE INDEX sighting_seen_at ON sighting (seen_at);
