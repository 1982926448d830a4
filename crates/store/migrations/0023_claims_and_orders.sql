-- The nodes that an order could have, in the order in which it would have them: `Store::available_nodes`.
-- `server` and `phase` are in it so that it is chosen before the indexes on those.
DROP INDEX node_available;
CREATE INDEX node_available ON node (server, phase, at_rest, created_at, id) WHERE phase = 'available'
    AND clean = 1 AND goal_kind = 'available' AND server IS NULL AND inventory IS NOT NULL;
-- Whether a node that is due can be claimed is read in here, not in the row of each that is being worked on.
DROP INDEX node_by_due_at;
CREATE INDEX node_by_due_at ON node (due_at, id, lease_until);
