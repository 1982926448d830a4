"""What the parsers have in common: gathering facts in one spelling."""

import ipaddress


class Facts:
    """Facts about interfaces, and about the whole system."""

    LISTS = ("members", "addresses", "gateways", "on_link", "routes", "automatic")

    def __init__(self):
        self.interfaces = {}
        self.system = {}

    def interface(self, name):
        return self.interfaces.setdefault(name, {})

    def say(self, name, field, value):
        """One value of a field; saying another one later is an error."""
        fields = self.interface(name)
        if fields.setdefault(field, value) != value:
            raise ValueError(f"{name}: {field} is {fields[field]} and {value}")

    def add(self, name, field, value):
        """One more value of a list."""
        values = self.interface(name).setdefault(field, [])
        if value in values:
            raise ValueError(f"{name}: {field} has {value} twice")
        values.append(value)

    def address(self, name, text):
        address = ipaddress.ip_interface(text)
        self.add(name, "addresses", address.with_prefixlen)

    def gateway(self, name, text):
        self.add(name, "gateways", str(ipaddress.ip_address(text)))

    def on_link(self, name, text):
        """A gateway is on the link by the tool's own rules."""
        gateway = ipaddress.ip_address(text)
        own = map(ipaddress.ip_interface, self.interface(name)["addresses"])
        if not gateway.is_link_local and not any(
            gateway in address.network for address in own
        ):
            self.add(name, "on_link", str(gateway))

    def route(self, name, destination, gateway):
        """A route; one to everywhere is a default gateway."""
        destination = ipaddress.ip_network(destination)
        gateway = ipaddress.ip_address(gateway)
        if destination.prefixlen == 0:
            self.gateway(name, str(gateway))
        else:
            self.add(name, "routes", f"{destination} via {gateway}")

    def names(self, field, values):
        """Name servers or domains, which several files may repeat but not change."""
        if field == "name_servers":
            values = [str(ipaddress.ip_address(value)) for value in values]
        if not values:
            return
        if self.system.setdefault(field, values) != values:
            raise ValueError(f"{field} is {self.system[field]} and {values}")

    def all(self):
        for fields in self.interfaces.values():
            for field in self.LISTS:
                if field in fields:
                    fields[field].sort()
        return self.interfaces, self.system
