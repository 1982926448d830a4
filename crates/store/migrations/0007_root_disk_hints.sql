-- Which disk of a machine is its root disk, where the rule is not to decide: an operator's hint for
-- one node, or for the nodes of a flavor.
ALTER TABLE node ADD COLUMN root_disk_hint TEXT;
ALTER TABLE flavor ADD COLUMN root_disk_hint TEXT;
