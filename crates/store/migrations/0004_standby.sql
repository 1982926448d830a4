-- Waiting in the agent for an order, and how a tenant's operating system is started.

-- An operator's word about one node: always, never or by_flavor.
ALTER TABLE node ADD COLUMN standby TEXT NOT NULL DEFAULT 'by_flavor';

ALTER TABLE flavor ADD COLUMN standby BIGINT NOT NULL DEFAULT 0;
ALTER TABLE flavor ADD COLUMN hand_over TEXT NOT NULL DEFAULT 'try_kexec';

-- The RAM disk that a boot is given, and whether it is the turn of its agent, should it be idle, to
-- be replaced by one of another RAM disk.
ALTER TABLE boot ADD COLUMN ramdisk TEXT;
ALTER TABLE boot ADD COLUMN outdated BIGINT NOT NULL DEFAULT 0;

-- POSTs are counted by themselves now: not every one of them is a boot of the agent.
ALTER TABLE server RENAME COLUMN boots_before TO posts_before;
UPDATE server SET posts_before = 0;

-- The kernel that an image starts, once an agent has loaded it.
CREATE TABLE image_kernel (
    image TEXT NOT NULL PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE,
    kernel TEXT NOT NULL
);

-- What became of kexec on each model of machine, by kernel.
CREATE TABLE kexec_outcome (
    model TEXT NOT NULL,
    kernel TEXT NOT NULL,
    worked BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    -- 1 if it worked the last time, 0 if it did not.
    last_worked BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (model, kernel)
);
