-- Where machines reach each server of this database: URLs without a path; NULL where it does not serve them.
ALTER TABLE conductor ADD COLUMN agent_url TEXT;
ALTER TABLE conductor ADD COLUMN phone_home_url TEXT;
-- The SHA-256 of the certificate that agents find there, in hexadecimal.
ALTER TABLE conductor ADD COLUMN agent_pin TEXT;
