-- The checksum of an image at its source, with its kind (`sha256:…`, `sha512:…`); empty until it has
-- been read from where it is listed.
ALTER TABLE image RENAME COLUMN sha256 TO checksum;
UPDATE image SET checksum = 'sha256:' || checksum;

-- Where its checksum is listed; user name and password for its source (JSON, sealed); bytes to be
-- uploaded, for one that is not fetched; and what it came in, once that is known.
ALTER TABLE image ADD COLUMN checksum_url TEXT;
ALTER TABLE image ADD COLUMN credentials TEXT;
ALTER TABLE image ADD COLUMN upload_size BIGINT;
ALTER TABLE image ADD COLUMN format TEXT;
