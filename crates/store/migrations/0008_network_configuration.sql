-- What configures the network of an image's system at its first boot.
ALTER TABLE image ADD COLUMN network_configuration TEXT NOT NULL DEFAULT 'cloud_init';
