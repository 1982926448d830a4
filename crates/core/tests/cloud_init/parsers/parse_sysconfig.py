"""Red Hat's ifcfg-* and route*-* files: initscripts' sysconfig.txt."""

import ipaddress
import shlex

from parsers.facts import Facts

FOLDER = "/etc/sysconfig/network-scripts/"
IGNORED = {
    "BOOTPROTO", "DEVICE", "DEFROUTE", "HWADDR", "IPV6INIT", "IPV6_AUTOCONF", "IPV6_FORCE_ACCEPT_RA",
    "MACADDR", "NM_CONTROLLED", "ONBOOT", "SLAVE", "TYPE", "USERCTL", "VLAN", "BONDING_MASTER",
}


def variables(text):
    found = {}
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            (found[name],) = shlex.split(value)
    return found


def interface(facts, name, own):
    if own["DEVICE"] != name or own["ONBOOT"] != "yes" or own["NM_CONTROLLED"] != "no":
        raise ValueError(f"{name} is not brought up at boot")
    facts.say(name, "kind", kind(own))
    if kind(own) == "port":
        facts.say(name, "mac", own["HWADDR"].lower())
    automatic(facts, name, own)
    servers = []
    for key, value in own.items():
        if key == "MTU":
            facts.say(name, "mtu", int(value))
        elif key.startswith("IPADDR"):
            facts.address(name, f"{value}/{own['NETMASK' + key.removeprefix('IPADDR')]}")
        elif key in ("IPV6ADDR", "IPV6ADDR_SECONDARIES"):
            for address in value.split():
                facts.address(name, address)
        elif key in ("GATEWAY", "IPV6_DEFAULTGW"):
            facts.gateway(name, value)
        elif key.startswith("DNS"):
            servers.append(value)
        elif key == "DOMAIN":
            facts.names("search_domains", value.split())
        elif key.startswith("BONDING_SLAVE"):
            facts.add(name, "members", value)
        elif key == "BONDING_OPTS":
            options = dict(option.split("=") for option in value.split())
            facts.say(name, "mode", options["mode"])
            if "lacp_rate" in options:
                facts.say(name, "lacp_rate", options["lacp_rate"])
        elif key == "PHYSDEV":
            facts.say(name, "parent", value)
            facts.say(name, "vlan_id", int(name.removeprefix(value + ".")))
        elif key not in IGNORED | {"MASTER", "DHCPV6C"} and not key.startswith("NETMASK"):
            raise ValueError(f"unknown variable {key}")
    facts.names("name_servers", servers)
    fixed6 = "IPV6ADDR" in own
    if fixed6 and (own["IPV6_AUTOCONF"], own["IPV6_FORCE_ACCEPT_RA"]) != ("no", "no"):
        raise ValueError(f"{name} lets router advertisements change it")


def kind(own):
    if own.get("VLAN") == "yes":
        return "vlan"
    return "bond" if own.get("BONDING_MASTER") == "yes" else "port"


def automatic(facts, name, own):
    if own["BOOTPROTO"] == "dhcp":
        facts.add(name, "automatic", "dhcpv4")
    elif own["BOOTPROTO"] != "none":
        raise ValueError(f"unknown protocol {own['BOOTPROTO']}")
    if own.get("DHCPV6C") == "yes":
        facts.add(name, "automatic", "dhcpv6")
    elif own.get("IPV6_AUTOCONF") == "yes":
        facts.add(name, "automatic", "slaac")


def ipv4_routes(facts, name, own):
    for key, value in own.items():
        if key.startswith("ADDRESS"):
            number = key.removeprefix("ADDRESS")
            network = ipaddress.ip_network(f"{value}/{own['NETMASK' + number]}")
            facts.route(name, network, own["GATEWAY" + number])


def ipv6_routes(facts, name, text):
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        destination, via, gateway, dev, device = line.split()
        if (via, dev, device) != ("via", "dev", name):
            raise ValueError(f"unexpected: {line}")
        facts.route(name, destination, gateway)


def resolver(facts, text):
    servers, domains = [], []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "nameserver":
            servers.append(words[1])
        elif words and words[0] == "search":
            domains = words[1:]
    facts.names("name_servers", servers)
    facts.names("search_domains", domains)


def parse(files, _names):
    facts = Facts()
    masters = {}
    for path, text in files.items():
        if path == "/etc/resolv.conf":
            resolver(facts, text)
        if not path.startswith(FOLDER):
            continue
        script, _, name = path.removeprefix(FOLDER).partition("-")
        if script == "ifcfg":
            own = variables(text)
            interface(facts, name, own)
            if own.get("SLAVE") == "yes":
                masters[name] = own["MASTER"]
        elif script == "route":
            ipv4_routes(facts, name, variables(text))
        elif script == "route6":
            ipv6_routes(facts, name, text)
        else:
            raise ValueError(f"unexpected file {path}")
    for member, master in masters.items():
        if member not in facts.interface(master)["members"]:
            raise ValueError(f"{master} does not know its member {member}")
    return facts.all()
