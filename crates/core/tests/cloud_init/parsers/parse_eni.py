"""/etc/network/interfaces: interfaces(5), with the options of ifenslave, vlan and resolvconf, and
route(8) for the commands that cloud-init adds."""

import shlex

from parsers.facts import Facts

IGNORED = {"accept_ra", "hwaddress", "bond_miimon", "bond_xmit_hash_policy", "dhcp"}


def stanzas(text):
    """The `iface` stanzas, each with its name, family, method and options; and all of `auto`."""
    found, automatic = [], set()
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if words[0] == "auto":
            automatic.update(words[1:])
        elif words[0] == "iface":
            name, family, method = words[1:]
            found.append((name, family, method, []))
        elif words[0] in ("source", "source-directory", "mapping"):
            raise ValueError(f"unexpected: {line}")
        else:
            key, _, value = line.partition(" ")
            found[-1][3].append((key, value.strip()))
    return found, automatic


def route_command(facts, name, words):
    """`route add [-A inet6] [-net|-host] TARGET gw GATEWAY || true`"""
    if words[-2:] != ["||", "true"]:
        raise ValueError(f"a route that can hold up the boot: {words}")
    words = [word for word in words[2:-2] if word not in ("-net", "-host")]
    if words[:2] == ["-A", "inet6"]:
        words = words[2:]
    target, gw, gateway = words
    if gw != "gw" or target == "default":
        raise ValueError(f"unexpected route: {words}")
    facts.route(name, target, gateway)


def option(facts, name, key, value):
    # ifupdown takes dashes and underscores for the same.
    key = key.replace("-", "_")
    if key == "address":
        facts.address(name, value)
    elif key == "gateway":
        facts.gateway(name, value)
        # ifupdown adds it with `onlink`, whatever it is.
        facts.on_link(name, value)
    elif key == "mtu":
        facts.say(name, "mtu", int(value))
    elif key == "dns_nameservers":
        facts.names("name_servers", value.split())
    elif key == "dns_search":
        facts.names("search_domains", value.split())
    elif key == "vlan_raw_device":
        facts.say(name, "kind", "vlan")
        facts.say(name, "parent", value)
    elif key == "vlan_id":
        facts.say(name, "vlan_id", int(value))
    elif key == "bond_slaves":
        if value != "none":
            raise ValueError(f"unexpected: bond-slaves {value}")
        facts.say(name, "kind", "bond")
    elif key == "bond_master":
        facts.add(value, "members", name)
    elif key == "bond_mode":
        facts.say(name, "mode", value)
    elif key == "bond_lacp_rate":
        facts.say(name, "lacp_rate", value)
    elif key == "post_up":
        route_command(facts, name, shlex.split(value))
    elif key == "pre_down":
        pass
    elif key not in IGNORED:
        raise ValueError(f"unknown option {key}")


def method(facts, name, family, method_, options):
    options = dict(options)
    if method_ == "dhcp":
        facts.add(name, "automatic", "dhcpv4" if family == "inet" else "dhcpv6")
    elif method_ == "auto" and family == "inet6":
        facts.add(name, "automatic", "slaac")
    elif method_ == "static" and family == "inet6" and name not in method.first:
        # Of an interface's first stanza alone cloud-init writes such options.
        if options.get("accept_ra") != "0":
            raise ValueError(f"{name} lets router advertisements change it")
    elif method_ not in ("static", "manual"):
        raise ValueError(f"unknown method {method_}")
    method.first.add(name)


def parse(files, names):
    facts = Facts()
    method.first = set()
    (text,) = [t for path, t in files.items() if path.startswith("/etc/network/interfaces")]
    found, automatic = stanzas(text)
    for name, family, method_, options in found:
        if name == "lo":
            for key, value in options:
                option(facts, name, key, value)
            continue
        method(facts, name, family, method_, options)
        for key, value in options:
            option(facts, name, key, value)
    facts.interfaces.pop("lo", None)
    macs = {name: mac for mac, name in names.items()}
    macs.update(named(files))
    for name, fields in facts.interfaces.items():
        if fields.setdefault("kind", "port") == "port":
            # ifenslave wants the bond's options on its members, too.
            fields.pop("mode", None)
            fields.pop("lacp_rate", None)
            fields["mac"] = macs[name]
        carries = any(other.get("parent") == name for other in facts.interfaces.values())
        if name not in automatic:
            if not carries:
                raise ValueError(f"{name} is not brought up at boot")
            # Its VLANs bring it up, without looking at what is written for it.
            fields.pop("mtu", None)
    return facts.all()


def named(files):
    """NICs that udev is to rename."""
    found = {}
    for path, text in files.items():
        if not path.endswith("persistent-net.rules"):
            continue
        for line in text.splitlines():
            words = dict(
                word.replace("==", "=").split("=", 1)
                for word in line.replace('"', "").split(", ")
                if word
            )
            found[words["NAME"]] = words["ATTR{address}"]
    return found
