"""Parsers of what cloud-init's renderers write, each after its format's manual.

Each has `parse(files, names)` and gives two dictionaries: of each interface its fields, and the
fields of the whole system. Fields, all of them left out where nothing is said:

    kind            port, bond or vlan
    mac             of a port: its MAC address
    mtu             bytes
    members         of a bond: the names of its members, sorted
    mode, lacp_rate of a bond
    vlan_id, parent of a VLAN
    addresses       fixed ones, as 192.0.2.1/24, sorted
    gateways        default gateways, sorted
    on_link         those of them that are said to be on the link although outside of the subnet
    routes          others, as "192.0.2.0/24 via 198.51.100.1", sorted
    automatic       dhcpv4, dhcpv6, slaac, sorted
    name_servers, search_domains    in their order
"""

from parsers.facts import Facts  # noqa: F401
