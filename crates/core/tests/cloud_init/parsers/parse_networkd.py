"""systemd-networkd's `.network` and `.netdev` files: systemd.network(5), systemd.netdev(5)."""

from parsers.facts import Facts


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


def network(facts, name, text):
    route = {}
    for section, settings in sections(text):
        if section == "Route":
            values = dict(settings)
            facts.route(name, values.pop("Destination", default(values)), values.pop("Gateway"))
            if values:
                raise ValueError(f"unknown: {values}")
            continue
        for key, value in settings:
            setting(facts, name, f"{section}.{key}", value)
    return route


def default(values):
    return "::/0" if ":" in values["Gateway"] else "0.0.0.0/0"


def setting(facts, name, key, value):
    if key == "Match.Name":
        if value != name:
            raise ValueError(f"{value} is not {name}")
    elif key == "Match.MACAddress":
        facts.say(name, "mac", value)
    elif key == "Link.MTUBytes":
        facts.say(name, "mtu", int(value))
    elif key == "Address.Address":
        facts.address(name, value)
    elif key == "Network.DHCP":
        for way, words in {"dhcpv4": ("yes", "ipv4"), "dhcpv6": ("yes", "ipv6")}.items():
            if value in words:
                facts.add(name, "automatic", way)
    elif key == "Network.DNS":
        facts.names("name_servers", value.split())
    elif key == "Network.Domains":
        facts.names("search_domains", value.split())
    elif key == "Network.IPv6AcceptRA":
        if value != "True":
            raise ValueError(f"{name} does not accept router advertisements")
    else:
        raise ValueError(f"unknown setting {key}={value}")


def parse(files, _names):
    facts = Facts()
    for path, text in files.items():
        name = path.rsplit("/10-cloud-init-", 1)[1]
        if not name.endswith(".network"):
            raise ValueError(f"unexpected file {path}")
        name = name.removesuffix(".network")
        facts.say(name, "kind", "port")
        network(facts, name, text)
        if name.startswith("bond") or "." in name:
            facts.interface(name).pop("mac", None)
    return facts.all()
