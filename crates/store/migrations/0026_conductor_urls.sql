-- Where machines reach each server of this database: URLs without a path; NULL where it does not serve them.
ALTER TABLE conductor ADD COLUMN agent_url TEXT;
ALTER TABLE conductor ADD COLUMN phone_home_url TEXT;
