-- Where things are (sites and racks), and the switches, which used to be in the configuration.

-- Rises with every switch that is made, changed or forgotten: who keeps switches in memory sees by it
-- whether they are still the ones.
INSERT INTO counter (name, value) VALUES ('switch', 0);

CREATE TABLE site (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX site_by_creation ON site (created_at, id);

CREATE TABLE rack (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    site TEXT NOT NULL REFERENCES site (id),
    -- Where in the site, in somebody's words.
    position TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX rack_by_creation ON rack (created_at, id);
CREATE INDEX rack_by_site ON rack (site);

ALTER TABLE node ADD COLUMN rack TEXT REFERENCES rack (id);
CREATE INDEX node_by_rack ON node (rack);

CREATE TABLE switch (
    id TEXT NOT NULL PRIMARY KEY,
    -- As the ports of nodes name it: it is never renamed.
    name TEXT NOT NULL UNIQUE,
    rack TEXT REFERENCES rack (id),
    driver TEXT NOT NULL,
    address TEXT NOT NULL,
    -- PEM, what is not secret of it in the clear.
    tls_authority TEXT,
    tls_certificate TEXT,
    tls_key TEXT,
    tunnel_address TEXT,
    -- The pool of local VLANs for VXLAN networks, such as 3000-3999.
    tunnel_vlans TEXT NOT NULL,
    physical_network TEXT,
    largest_mtu BIGINT,
    -- Where they are not the site's usual ones.
    parked_vlan BIGINT,
    provisioning_vlan BIGINT,
    standby_vlan BIGINT,
    rescue_vlan BIGINT,
    -- The value of the counter `switch` at its last change.
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When it last answered as it should; and the last time that it did not, with why. `failing` says
    -- which of them was later.
    read_at BIGINT,
    error TEXT,
    error_at BIGINT,
    failing BIGINT NOT NULL
);
CREATE INDEX switch_by_creation ON switch (created_at, id);
CREATE INDEX switch_by_rack ON switch (rack);

-- What switch ports were last seen to carry.
CREATE TABLE switch_port (
    switch TEXT NOT NULL REFERENCES switch (id) ON DELETE CASCADE,
    port TEXT NOT NULL,
    state TEXT NOT NULL,
    read_at BIGINT NOT NULL,
    PRIMARY KEY (switch, port)
);
