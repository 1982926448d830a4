-- What is asked for at every order and at every step of a node, found without looking at all of them.
-- A server by its name alone: what operators give.
CREATE INDEX server_by_name ON server (name);
-- The intent that is pending, of which a node has one at most.
CREATE INDEX intent_pending ON intent (node) WHERE status = 'pending';
-- The nodes that an order could have: `Store::available_node_ids`.
CREATE INDEX node_available ON node (created_at, id) WHERE phase = 'available' AND clean = 1
    AND goal_kind = 'available' AND server IS NULL AND inventory IS NOT NULL;
-- How much of a subnet is in use is counted in here alone.
CREATE INDEX address_by_use ON address (subnet, server, in_pool);
