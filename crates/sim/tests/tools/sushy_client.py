"""What sushy_is_content (sushy.rs) has sushy do: URL, user name, password, part, image URL."""

import sys

import sushy
from sushy import auth, exceptions

url, username, password, part, image = sys.argv[1:]


def connect(secret=password, kind=auth.SessionAuth):
    return sushy.Sushy(url, auth=kind(username, secret), verify=False)


root = connect() if part != "wrong-password" else None
system = root.get_system_collection().get_members()[0] if root else None

if part == "identity":
    assert system.manufacturer == "Bessemer", system.manufacturer
    assert system.serial_number == "SIM00001", system.serial_number
    assert system.uuid == "5e550000-0000-4000-8000-000000000001", system.uuid
    assert system.memory_summary.size_gib == 16, system.memory_summary
    assert [cpu.total_cores for cpu in system.processors.get_members()] == [4]
    nics = system.ethernet_interfaces.summary
    assert list(nics) == ["52:54:00:51:00:01"], nics
    drives = system.storage.drives_sizes_bytes
    assert drives == [8 << 30], drives
    manager = root.get_manager_collection().get_members()[0]
    assert manager.manager_type == sushy.MANAGER_TYPE_BMC
    assert root.get_chassis_collection().get_members()[0].serial_number == "SIM00001"
    # Without a session, too.
    basic = connect(kind=auth.BasicAuth).get_system_collection().get_members()
    assert basic[0].identity == system.identity
elif part == "power":
    assert system.power_state == sushy.POWER_STATE_OFF, system.power_state
    allowed = system.get_allowed_reset_system_values()
    assert sushy.RESET_ON in allowed and sushy.RESET_FORCE_OFF in allowed, allowed
    for reset, state in [
        (sushy.RESET_ON, sushy.POWER_STATE_ON),
        (sushy.RESET_FORCE_OFF, sushy.POWER_STATE_OFF),
        (sushy.RESET_ON, sushy.POWER_STATE_ON),
    ]:
        system.reset_system(reset)
        system.refresh()
        assert system.power_state == state, (reset, system.power_state)
    try:
        system.reset_system(sushy.RESET_ON)
        raise AssertionError("a machine that is on was switched on")
    except exceptions.HTTPError as error:
        assert error.status_code == 409, error
elif part == "boot":
    allowed = system.get_allowed_system_boot_source_values()
    wanted = [
        sushy.BOOT_SOURCE_TARGET_PXE,
        sushy.BOOT_SOURCE_TARGET_HDD,
        sushy.BOOT_SOURCE_TARGET_UEFI_HTTP,
        sushy.BOOT_SOURCE_TARGET_CD,
    ]
    assert set(wanted) <= set(allowed), allowed
    for target in wanted:
        system.set_system_boot_options(
            target,
            enabled=sushy.BOOT_SOURCE_ENABLED_ONCE,
            mode=sushy.BOOT_SOURCE_MODE_UEFI,
        )
        system.refresh()
        assert system.boot["target"] == target, system.boot
        assert system.boot["enabled"] == sushy.BOOT_SOURCE_ENABLED_ONCE, system.boot
elif part in ("insert", "eject"):
    drives = system.virtual_media.get_members()
    drive = [d for d in drives if sushy.VIRTUAL_MEDIA_CD in d.media_types][0]
    if part == "insert":
        drive.insert_media(image, inserted=True, write_protected=True)
        drive.refresh()
        assert drive.inserted and drive.image == image, drive.image
    else:
        drive.eject_media()
        drive.refresh()
        assert not drive.inserted and not drive.image, drive.image
elif part == "wrong-password":
    try:
        connect(secret="wrong").get_system_collection()
        raise AssertionError("a wrong password was good")
    except exceptions.AccessError:
        pass
else:
    sys.exit(f"no such part: {part}")
