"""NetworkManager's connections: nm-settings-keyfile(5)."""

import configparser

from parsers.facts import Facts

FOLDER = "/etc/NetworkManager/system-connections/"


def words(text):
    return [word for word in text.split(";") if word]


def family(facts, name, settings, ipv6):
    method = settings.get("method")
    for key, value in settings.items():
        if key.startswith("address"):
            facts.address(name, value)
        elif key == "gateway":
            facts.gateway(name, value)
        elif key.startswith("route"):
            facts.route(name, *value.split(","))
        elif key == "dns":
            facts.name_servers.setdefault(name, []).extend(words(value))
        elif key == "dns-search":
            facts.names("search_domains", words(value))
        elif key not in ("method", "may-fail"):
            raise ValueError(f"unknown setting {key}")
    if "gateway" in settings:
        # NetworkManager adds a route to a gateway that is out of the subnet.
        facts.on_link(name, settings["gateway"])
    if method == "auto":
        # Router advertisements decide whether there is DHCPv6.
        facts.add(name, "automatic", "router" if ipv6 else "dhcpv4")
    elif method not in ("manual", "disabled"):
        raise ValueError(f"unknown method {method}")


def connection(facts, config, uuids):
    own = dict(config["connection"])
    kind = own["type"]
    settings = dict(config[kind])
    if kind == "ethernet":
        mac = settings["mac-address"].lower()
        name = own["id"].removeprefix("cloud-init ")
        facts.say(name, "mac", mac)
        if "mtu" in settings:
            facts.say(name, "mtu", int(settings["mtu"]))
    else:
        name = own["interface-name"]
    facts.say(name, "kind", {"ethernet": "port"}.get(kind, kind))
    if "master" in own:
        facts.add(uuids[own["master"]], "members", name)
    if kind == "vlan":
        facts.say(name, "vlan_id", int(settings["id"]))
        facts.say(name, "parent", uuids[settings["parent"]])
    elif kind == "bond":
        facts.say(name, "mode", settings["mode"])
        if settings["miimon"] != "100":
            raise ValueError(f"{name} does not watch its links")
        if settings["mode"] == "802.3ad" and settings["xmit_hash_policy"] != "layer3+4":
            raise ValueError(f"{name} has another hash policy")
    for section, ipv6 in (("ipv4", False), ("ipv6", True)):
        if config.has_section(section):
            family(facts, name, dict(config[section]), ipv6)


def parse(files, _names):
    facts = Facts()
    facts.name_servers = {}
    configs = []
    for path, text in files.items():
        if path.startswith(FOLDER):
            config = configparser.ConfigParser(interpolation=None, delimiters=("=",))
            config.optionxform = str
            config.read_string(text)
            configs.append(config)
    uuids = {
        config["connection"]["uuid"]: config["connection"]["id"].removeprefix("cloud-init ")
        for config in configs
    }
    for config in configs:
        connection(facts, config, uuids)
    for servers in facts.name_servers.values():
        facts.names("name_servers", servers)
    return facts.all()
