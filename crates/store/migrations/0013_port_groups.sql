-- Which NICs of a node are bonded, and which physical network a network is part of.

-- Names and modes; which port is in which group is said in `ports`.
ALTER TABLE node ADD COLUMN port_groups TEXT NOT NULL DEFAULT '[]';
-- The physical network that it is part of, if that is declared: servers are put on it by ports that
-- lead there.
ALTER TABLE network ADD COLUMN physical_network TEXT;
