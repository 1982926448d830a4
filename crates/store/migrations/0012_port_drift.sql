-- Whether switch ports still carry what they were brought to carry.

-- The role that all ports of the node were last brought into and read back in; NULL while that is
-- not known.
ALTER TABLE node ADD COLUMN port_role TEXT;
-- When it was last begun to read them.
ALTER TABLE node ADD COLUMN ports_read_at BIGINT NOT NULL DEFAULT 0;
-- 1 if somebody has seen, or has reason to think, that they are not as they were left.
ALTER TABLE node ADD COLUMN ports_suspect BIGINT NOT NULL DEFAULT 0;
