-- VXLAN networks on switches: their VLANs there, who they are there for, and the tunnels between them.

-- The VLAN that a VXLAN network has on a switch. It stays until the switch has been read back without
-- the network's tunnels: until then no other network may have the VLAN, nor the network be forgotten.
CREATE TABLE local_network (
    -- The switch's name, as nodes' ports have it.
    switch TEXT NOT NULL,
    network TEXT NOT NULL REFERENCES network (id),
    vlan BIGINT NOT NULL,
    PRIMARY KEY (switch, network),
    UNIQUE (switch, vlan)
);
CREATE INDEX local_network_by_network ON local_network (network);
CREATE INDEX local_network_by_vlan ON local_network (vlan);

-- The servers that a network is on a switch for: from their order until their ports are parked.
CREATE TABLE local_network_server (
    server TEXT NOT NULL REFERENCES server (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    switch TEXT NOT NULL,
    -- A port of the switch that carries it: tunnels are beside it.
    port TEXT NOT NULL,
    PRIMARY KEY (server, network),
    FOREIGN KEY (switch, network) REFERENCES local_network (switch, network)
);
CREATE INDEX local_network_server_by_place ON local_network_server (switch, network);

-- Whether each switch has the tunnels that it is to have.
CREATE TABLE switch_tunnels (
    switch TEXT NOT NULL PRIMARY KEY,
    -- Rises with everything that changes which tunnels it is to have.
    wanted BIGINT NOT NULL,
    -- What `wanted` was when it was last read back with all of them.
    done BIGINT NOT NULL,
    -- When it is to be looked at; NULL for never.
    due_at BIGINT,
    -- Who brings them about, for how long, and how often somebody has: as for nodes.
    owner TEXT,
    lease_until BIGINT NOT NULL,
    fence BIGINT NOT NULL
);
CREATE INDEX switch_tunnels_by_due ON switch_tunnels (due_at);
