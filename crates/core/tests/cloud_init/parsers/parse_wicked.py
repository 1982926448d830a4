"""wicked's files: ifcfg(5), ifcfg-bonding(5), ifcfg-vlan(5), ifroute(5), ifsysctl(5); netconfig(8) for
name servers. Anything that these pages do not have is an error.

wicked itself is not to be had on Debian.
"""

import ipaddress
import re
import shlex

from parsers.facts import Facts

FOLDER = "/etc/sysconfig/network/"
PROTOCOLS = {"static": [], "dhcp": ["dhcpv4", "dhcpv6"], "dhcp4": ["dhcpv4"], "dhcp6": ["dhcpv6"]}
RULE = re.compile(
    r'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="\?\*", ATTR\{type\}=="1", '
    r'ATTR\{address\}=="([0-9a-f:]{17})", NAME="([a-z0-9_-]{1,15})"'
)


def variables(text):
    """What a shell would have after reading this: assignments, comments, nothing else."""
    found = {}
    for line in text.splitlines():
        for word in shlex.split(line, comments=True):
            name, equals, value = word.partition("=")
            if not equals or not re.fullmatch("[A-Z][A-Z0-9_]*", name):
                raise ValueError(f"not an assignment: {line}")
            found[name] = value
    return found


def interface(facts, name, own):
    """An ifcfg file; gives the members of a bond."""
    member = own["BOOTPROTO"] == "none"
    if own.pop("STARTMODE") != ("hotplug" if member else "auto"):
        raise ValueError(f"{name} is not brought up at boot")
    protocol = own.pop("BOOTPROTO")
    if member:
        # "Skip the link-layer setup": everything else is its bond's.
        if own:
            raise ValueError(f"a member that has {own}")
        return
    for way in PROTOCOLS[protocol]:
        facts.add(name, "automatic", way)
    if ("DHCLIENT6_MODE" in own) != ("dhcpv6" in PROTOCOLS[protocol]):
        raise ValueError("the mode is for DHCPv6, and DHCPv6 wants it")
    if own.pop("DHCLIENT6_MODE", "managed") != "managed":
        raise ValueError("DHCPv6 without addresses")
    facts.say(name, "mtu", int(own.pop("MTU")))
    for key in sorted(own):
        if re.fullmatch("IPADDR_[0-9]+", key):
            facts.address(name, own.pop(key))
    link(facts, name, own)
    if own:
        raise ValueError(f"unknown: {own}")


def link(facts, name, own):
    if own.pop("BONDING_MASTER", "no") == "yes":
        facts.say(name, "kind", "bond")
        own.pop("LLADDR")
        for key in [key for key in own if re.fullmatch("BONDING_SLAVE_[0-9]+", key)]:
            facts.add(name, "members", own.pop(key))
        options = dict(option.split("=") for option in own.pop("BONDING_MODULE_OPTS").split())
        facts.say(name, "mode", options.pop("mode"))
        if "lacp_rate" in options:
            facts.say(name, "lacp_rate", options.pop("lacp_rate"))
        if options.pop("miimon") != "100" or options.pop("xmit_hash_policy", "layer3+4") != "layer3+4":
            raise ValueError(f"{name} does not watch its links")
        if options:
            raise ValueError(f"unknown: {options}")
    elif "ETHERDEVICE" in own:
        facts.say(name, "kind", "vlan")
        facts.say(name, "parent", own.pop("ETHERDEVICE"))
        facts.say(name, "vlan_id", int(own.pop("VLAN_ID")))
    else:
        facts.say(name, "kind", "port")


def routes(facts, name, text):
    """Destination, gateway, netmask, interface."""
    reachable = set()
    for line in text.splitlines():
        destination, gateway, netmask, device = line.split()
        if (netmask, device) != ("-", "-"):
            raise ValueError(f"unexpected: {line}")
        if gateway == "-":
            reachable.add(str(ipaddress.ip_network(destination).network_address))
        elif destination == "default":
            facts.gateway(name, gateway)
            if gateway in reachable:
                facts.add(name, "on_link", gateway)
        else:
            facts.route(name, destination, gateway)


def settings(facts, text):
    """Router advertisements: what accepts them and makes addresses of them does SLAAC."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.split()
        name, setting = re.fullmatch(r"net\.ipv6\.conf\.([a-z0-9/_-]+)\.(accept_ra|autoconf)", key).groups()
        if equals != "=" or value not in ("0", "1"):
            raise ValueError(f"unexpected: {line}")
        # In a name a slash stands for a dot.
        found.setdefault(name.replace("/", "."), {})[setting] = value
    for name, values in found.items():
        automatic = facts.interface(name).get("automatic", [])
        if values["autoconf"] == "1":
            facts.add(name, "automatic", "slaac")
        if (values["accept_ra"] == "1") != (values["autoconf"] == "1" or "dhcpv6" in automatic):
            raise ValueError(f"{name}: router advertisements are accepted for nothing, or missed")
    return set(found)


def parse(files, _names):
    facts = Facts()
    configured = set()
    for path, text in files.items():
        kind, _, name = path.removeprefix(FOLDER).partition("-")
        if path.startswith(FOLDER) and kind == "ifcfg":
            configured.add(name)
            interface(facts, name, variables(text))
        elif path == FOLDER + "config":
            own = variables(text)
            facts.names("name_servers", own.get("NETCONFIG_DNS_STATIC_SERVERS", "").split())
            facts.names("search_domains", own.get("NETCONFIG_DNS_STATIC_SEARCHLIST", "").split())
    for path, text in files.items():
        if path.startswith(FOLDER + "ifroute-"):
            routes(facts, path.removeprefix(FOLDER + "ifroute-"), text)
    for line in files["/etc/udev/rules.d/70-persistent-net.rules"].splitlines():
        mac, name = RULE.fullmatch(line).groups()
        facts.say(name, "kind", "port")
        facts.say(name, "mac", mac)
    for fields in list(facts.interfaces.values()):
        for member in fields.get("members", []):
            # "It propagates several settings to the ports, e.g. it sets the MTU."
            facts.say(member, "mtu", fields["mtu"])
    if settings(facts, files["/etc/sysctl.d/90-bessemer-network.conf"]) != configured:
        raise ValueError("not every interface has its settings")
    if configured != set(facts.interfaces):
        raise ValueError(f"{configured} are not {set(facts.interfaces)}")
    return facts.all()
