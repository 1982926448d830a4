-- What looks at the power state of machines have seen, and who takes part in looking.

-- `on` or `off`, as one of our own intents left it or as it was seen since; NULL while it is not known.
ALTER TABLE node ADD COLUMN power TEXT;
-- When that was learnt first.
ALTER TABLE node ADD COLUMN power_since BIGINT;
-- 1 if the machine was found on after it had been left off, until the conductor has looked at that.
ALTER TABLE node ADD COLUMN switched_on BIGINT NOT NULL DEFAULT 0;
-- Since when its management controller has not answered; NULL while it does.
ALTER TABLE node ADD COLUMN bmc_silent_since BIGINT;

-- The servers that are alive on this database.
CREATE TABLE conductor (
    id TEXT PRIMARY KEY,
    seen_at BIGINT NOT NULL
);
