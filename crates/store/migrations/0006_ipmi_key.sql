-- The key K_g of a node's management controller (IPMI 2.0, section 13.33), sealed, where one is set.
ALTER TABLE node ADD COLUMN bmc_ipmi_key TEXT;
