"""Runs cloud-init's own code over many network documents, in one process.

    render.py PACKAGE <cases.json >renderings.json

PACKAGE is Debian's cloud-init package, unpacked. A case has a name, a `network_data.json` and the
system's names of its NICs by MAC address. It is read and rendered as `cloud-init devel net-convert`
does it (cloudinit/cmd/devel/net_convert.py), for the distribution that each renderer is at home on, into an
empty folder. What is written there is parsed back by this folder's parsers, which know the formats
from their manuals; and so are the files that a case brings with it, for tools without cloud-init.
"""

import copy
import functools
import json
import logging
import pathlib
import sys
import tempfile

sys.path.insert(0, sys.argv[1] + "/usr/lib/python3/dist-packages")

from cloudinit import distros, util  # noqa: E402
from cloudinit.net import (  # noqa: E402
    eni,
    netplan,
    network_manager,
    network_state,
    networkd,
    sysconfig,
)
from cloudinit.sources.helpers import openstack  # noqa: E402

from parsers import parse_eni  # noqa: E402
from parsers import parse_netplan  # noqa: E402
from parsers import parse_network_manager  # noqa: E402
from parsers import parse_networkd  # noqa: E402
from parsers import parse_sysconfig  # noqa: E402
from parsers import parse_wicked  # noqa: E402

RENDERERS = {
    "eni": (eni.Renderer, "debian", parse_eni.parse),
    "netplan": (netplan.Renderer, "debian", parse_netplan.parse),
    "networkd": (networkd.Renderer, "debian", parse_networkd.parse),
    "sysconfig": (sysconfig.Renderer, "rhel", parse_sysconfig.parse),
    "network-manager": (
        network_manager.Renderer,
        "rhel",
        parse_network_manager.parse,
    ),
}

# Of files that Bessemer renders by itself.
OWN = {"wicked": parse_wicked.parse, "networkd-files": parse_networkd.parse}


class Complaints(logging.Handler):
    """Keeps what cloud-init warns of."""

    def __init__(self):
        super().__init__(level=logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def configuration(distribution, renderer):
    """The distribution's settings for a renderer, as net-convert changes them."""
    distro = distros.fetch(distribution)(distribution, {}, None)
    config = copy.deepcopy(distro.renderer_configs.get(renderer))
    if renderer == "netplan":
        config["postcmds"] = False
        config["netplan_path"] = config["netplan_path"].lstrip("/")
        config["features"] = ["dhcp-use-domains", "ipv6-mtu"]
    return config


def render(case, renderer, config):
    """The files that cloud-init writes for this case."""
    document = copy.deepcopy(case["network_data"])
    pre_state = openstack.convert_net_json(
        document, known_macs=case["interfaces"]
    )
    instance = RENDERERS[renderer][0](config=copy.deepcopy(config))
    state = network_state.parse_net_config_data(
        pre_state, skip_broken=False, renderer=instance
    )
    with tempfile.TemporaryDirectory() as target:
        instance.render_network_state(network_state=state, target=target + "/")
        root = pathlib.Path(target)
        return {
            "/" + str(path.relative_to(root)): path.read_text()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


def result(case, renderer, complaints, files):
    """What the files say that `files()` gives."""
    complaints.texts = []
    answer = {"case": case["name"], "renderer": renderer, "error": None}
    parse = OWN[renderer] if renderer in OWN else RENDERERS[renderer][2]
    try:
        answer["files"] = files()
        interfaces, system = parse(answer["files"], case["interfaces"])
        answer["interfaces"] = interfaces
        answer["system"] = system
    except Exception as error:  # whatever it is, it is the answer
        answer["error"] = f"{type(error).__name__}: {error}"
    answer["warnings"] = complaints.texts
    return answer


def main():
    # The owner that cloud-init gives to networkd's files may not exist on this machine.
    util.chownbyname = lambda *_: None
    # After every link cloud-init makes a YAML of all that it knows, and throws it away: that would
    # be most of the time that this takes.
    network_state.NetworkStateInterpreter.dump_network_state = lambda _: None
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    cases = json.load(sys.stdin)
    answers = []
    for renderer, (_, distribution, _) in RENDERERS.items():
        config = configuration(distribution, renderer)
        for case in cases:
            files = functools.partial(render, case, renderer, config)
            answers.append(result(case, renderer, complaints, files))
    for case in cases:
        for renderer, files in case["files"].items():
            answers.append(result(case, renderer, complaints, lambda: files))
    json.dump(answers, sys.stdout)


main()
