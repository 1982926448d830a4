-- When the next node is due is asked after every write: only nodes that are being worked on are looked at for
-- when their leases end, not all there are.
CREATE INDEX node_by_lease ON node (lease_until) WHERE lease_until > 0;
