-- How a node is made to boot the agent: what an operator decided (null: choose), and what its
-- management controller said it can be made to do (JSON; null: not asked yet).
ALTER TABLE node ADD COLUMN boot_method TEXT;
ALTER TABLE node ADD COLUMN boot_abilities TEXT;

-- How this boot is to happen; whether the BMC may still hold its medium; and the DHCP relay through
-- which its firmware asked (JSON; null: none).
ALTER TABLE boot ADD COLUMN method TEXT NOT NULL DEFAULT 'uefi_http';
ALTER TABLE boot ADD COLUMN media_inserted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE boot ADD COLUMN relay TEXT;
