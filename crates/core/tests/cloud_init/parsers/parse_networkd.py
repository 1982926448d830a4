"""systemd-networkd's files: systemd.network(5), systemd.netdev(5), systemd.link(5), resolved.conf(5).

A NIC that no `.link` names keeps the system's name for it.
"""

from parsers.facts import Facts

FOLDER = "/etc/systemd/network/"


def sections(text):
    found = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            found.append((line.strip("[]"), []))
        else:
            key, _, value = line.partition("=")
            found[-1][1].append((key, value))
    return found


def take(text, section):
    """The settings of the only section of this name."""
    (settings,) = [dict(settings) for name, settings in sections(text) if name == section]
    return settings


def netdev(facts, text):
    own = take(text, "NetDev")
    name = own.pop("Name")
    kind = own.pop("Kind")
    facts.say(name, "kind", kind)
    facts.say(name, "mtu", int(own.pop("MTUBytes")))
    own.pop("MACAddress", None)
    if kind == "vlan":
        facts.say(name, "vlan_id", int(take(text, "VLAN").pop("Id")))
    else:
        bond = take(text, "Bond")
        facts.say(name, "mode", bond.pop("Mode"))
        if "LACPTransmitRate" in bond:
            facts.say(name, "lacp_rate", bond.pop("LACPTransmitRate"))
        own.update(bond)
        if (own.pop("MIIMonitorSec"), own.pop("TransmitHashPolicy", None)) not in (
            ("100ms", "layer3+4"),
            ("100ms", None),
        ):
            raise ValueError(f"{name} does not watch its links")
    if own:
        raise ValueError(f"unknown: {own}")


def network(facts, text, names):
    match = take(text, "Match")
    mac = match.pop("PermanentMACAddress", None)
    name = match.pop("Name") if mac is None else names[mac]
    fields = facts.interface(name)
    mac = match.pop("MACAddress", mac)
    if fields.setdefault("kind", "port") == "port":
        facts.say(name, "mac", mac)
    if match:
        raise ValueError(f"unknown: {match}")
    for section, settings in sections(text):
        if section == "Route":
            route(facts, name, dict(settings))
        elif section == "Network":
            links(facts, name, settings)
        elif section != "Match":
            for key, value in settings:
                setting(facts, name, f"{section}.{key}", value)


def route(facts, name, values):
    gateway = values.pop("Gateway")
    default = "::/0" if ":" in gateway else "0.0.0.0/0"
    facts.route(name, values.pop("Destination", default), gateway)
    if values.pop("GatewayOnLink", "no") == "yes":
        facts.add(name, "on_link", gateway)
    if values:
        raise ValueError(f"unknown: {values}")


def setting(facts, name, key, value):
    if key == "Link.MTUBytes":
        facts.say(name, "mtu", int(value))
    elif key == "Link.RequiredForOnline":
        if value != "no":
            raise ValueError(f"unexpected: {key}={value}")
    elif key == "Address.Address":
        facts.address(name, value)
    else:
        raise ValueError(f"unknown setting {key}={value}")


def links(facts, name, settings):
    values = {}
    for key, value in settings:
        if key == "VLAN":
            facts.say(value, "parent", name)
        elif key == "Bond":
            facts.add(value, "members", name)
        elif key == "DNS":
            facts.names("name_servers", value.split())
        elif key == "Domains":
            facts.names("search_domains", value.split())
        else:
            values[key] = value
    dhcp = values.pop("DHCP")
    if dhcp in ("yes", "ipv4"):
        facts.add(name, "automatic", "dhcpv4")
    accept = values.pop("IPv6AcceptRA", None)
    if dhcp in ("yes", "ipv6"):
        if accept not in ("yes", "True"):
            raise ValueError(f"{name} does not accept router advertisements")
        facts.add(name, "automatic", "dhcpv6")
    elif accept == "yes":
        facts.add(name, "automatic", "slaac")
    values.pop("LinkLocalAddressing", None)
    if values:
        raise ValueError(f"unknown: {values}")


def parse(files, names):
    facts = Facts()
    names = dict(names)
    texts = {kind: [] for kind in ("link", "netdev", "network", "conf", "cfg")}
    for path, text in files.items():
        texts[path.rsplit(".", 1)[1]].append(text)
    for text in texts["link"]:
        names[take(text, "Match")["PermanentMACAddress"]] = take(text, "Link")["Name"]
    for text in texts["netdev"]:
        netdev(facts, text)
    for text in texts["network"]:
        network(facts, text, names)
    for name, fields in facts.interfaces.items():
        # cloud-init takes bonds and VLANs for NICs, and gives their addresses.
        if name.startswith("bond") or "." in name:
            fields.pop("mac", None)
    for text in texts["conf"]:
        own = take(text, "Resolve")
        facts.names("name_servers", own.pop("DNS", "").split())
        facts.names("search_domains", own.pop("Domains", "").split())
    return facts.all()
