-- An order takes a node that is still wired as it was looked at.

-- How often its ports have been wired anew.
ALTER TABLE node ADD COLUMN wirings BIGINT NOT NULL DEFAULT 0;
