"""Netplan's YAML: netplan(5)."""

import yaml

from parsers.facts import Facts

IGNORED = {"accept-ra", "set-name", "match", "macaddress"}


def device(facts, name, kind, settings):
    facts.say(name, "kind", kind)
    for key, value in settings.items():
        if key == "mtu":
            facts.say(name, "mtu", value)
        elif key == "addresses":
            for address in value:
                facts.address(name, address)
        elif key in ("gateway4", "gateway6"):
            facts.gateway(name, value)
        elif key == "routes":
            for route in value:
                facts.route(name, route.pop("to"), route.pop("via"))
                if route:
                    raise ValueError(f"unknown: {route}")
        elif key == "nameservers":
            facts.names("name_servers", value.get("addresses", []))
            facts.names("search_domains", value.get("search", []))
        elif key == "dhcp4" and value is True:
            facts.add(name, "automatic", "dhcpv4")
        elif key == "dhcp6" and value is True:
            # Router advertisements decide between the two, and so are accepted.
            accept = settings.get("accept-ra")
            if accept is False:
                raise ValueError(f"{name} does not accept router advertisements")
            facts.add(name, "automatic", "dhcpv6" if accept else "slaac")
        elif key == "id":
            facts.say(name, "vlan_id", value)
        elif key == "link":
            facts.say(name, "parent", value)
        elif key == "interfaces":
            for member in value:
                facts.add(name, "members", member)
        elif key == "parameters":
            facts.say(name, "mode", value["mode"])
            if "lacp-rate" in value:
                facts.say(name, "lacp_rate", value["lacp-rate"])
        elif key not in IGNORED:
            raise ValueError(f"unknown setting {key}")
    fixed6 = any(":" in address for address in settings.get("addresses", []))
    if fixed6 and settings.get("accept-ra") is not False:
        raise ValueError(f"{name} lets router advertisements change it")


def parse(files, _names):
    facts = Facts()
    (text,) = files.values()
    network = yaml.safe_load(text)["network"]
    if network.pop("version") != 2:
        raise ValueError("not version 2")
    for name, settings in network.pop("ethernets", {}).items():
        device(facts, name, "port", settings)
        if settings["set-name"] != name:
            raise ValueError(f"{name} is not its name")
        facts.say(name, "mac", settings["match"]["macaddress"])
    for name, settings in network.pop("bonds", {}).items():
        device(facts, name, "bond", settings)
    for name, settings in network.pop("vlans", {}).items():
        device(facts, name, "vlan", settings)
    if network:
        raise ValueError(f"unknown: {network}")
    return facts.all()
