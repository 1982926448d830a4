-- What a node is made of has a table of its own: it is by far the largest that is known of it, and changes
-- with an inspection, while its row is written at every step.
CREATE TABLE inventory (
    node TEXT NOT NULL PRIMARY KEY REFERENCES node (id) ON DELETE CASCADE,
    inventory TEXT NOT NULL
);
INSERT INTO inventory (node, inventory) SELECT id, inventory FROM node WHERE inventory IS NOT NULL;
DROP INDEX node_available;
ALTER TABLE node DROP COLUMN inventory;
-- The nodes that an order could have, in the order in which it would have them: `Store::available_nodes`.
-- `server` and `phase` are in it so that it is chosen before the indexes on those.
CREATE INDEX node_available ON node (server, phase, at_rest, created_at, id) WHERE phase = 'available'
    AND clean = 1 AND goal_kind = 'available' AND server IS NULL;
