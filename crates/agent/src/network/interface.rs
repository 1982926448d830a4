//! Network interfaces: what sysfs tells of them, and the ioctls (netdevice(7)) that set them up.

use std::io;
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use bessemer_core::net::MacAddress;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::machine::Machine;
use crate::{Error, Result};

/// `ETHTOOL_GPERMADDR` of `linux/ethtool.h`.
const ETHTOOL_GET_PERMANENT_ADDRESS: u32 = 0x20;

/// The interfaces of real devices, sorted: not loopback, no tunnels, no bridges.
pub fn physical(machine: &Machine) -> Vec<String> {
    let mut names = machine.names("sys/class/net");
    names.retain(|name| {
        machine
            .path(format!("sys/class/net/{name}/device"))
            .exists()
    });
    names
}

/// The address an interface has now.
pub fn address(machine: &Machine, name: &str) -> Option<MacAddress> {
    machine
        .text(format!("sys/class/net/{name}/address"))?
        .parse()
        .ok()
}

/// Whether there is a carrier; false also for an interface that is down.
pub fn has_carrier(machine: &Machine, name: &str) -> bool {
    machine
        .text(format!("sys/class/net/{name}/carrier"))
        .as_deref()
        == Some("1")
}

/// The kernel driver's name, empty if there is none.
pub fn driver(machine: &Machine, name: &str) -> String {
    let link = machine.path(format!("sys/class/net/{name}/device/driver"));
    let target = std::fs::read_link(link).ok();
    let driver = target.as_deref().and_then(|path| path.file_name());
    driver
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The number by which packet sockets know an interface.
pub fn index(machine: &Machine, name: &str) -> Option<i32> {
    machine
        .text(format!("sys/class/net/{name}/ifindex"))?
        .parse()
        .ok()
}

/// The socket through which interfaces are set up.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
}

impl Control {
    /// Opens the socket.
    pub fn open() -> Result<Self> {
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| failed("open a socket for", "any")(errno.into()))?;
        Ok(Self { socket })
    }

    /// Switches an interface on.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.change_flags(name, |flags| flags | libc::IFF_UP as i16)
            .map_err(failed("switch on", name))
    }

    /// Switches an interface off: its DMA stops.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.change_flags(name, |flags| flags & !(libc::IFF_UP as i16))
            .map_err(failed("switch off", name))
    }

    /// Gives an interface its IPv4 address; the prefix is 1 to 32 bits.
    pub fn set_address(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0));
        for (operation, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
            let mut request = request(name);
            request.ifr_ifru.ifru_addr = socket_address(value);
            self.call(operation, &raw mut request)
                .map_err(failed("set the address of", name))?;
        }
        Ok(())
    }

    /// Sends everything that is not on a network of its own to `gateway`.
    pub fn add_default_route(&self, name: &str, gateway: Ipv4Addr) -> Result<()> {
        // SAFETY: a route of zeros is valid: no device, every address unset.
        let mut route: libc::rtentry = unsafe { zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = socket_address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        match self.call(libc::SIOCADDRT, &raw mut route) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map_err(failed("set the gateway of", name)),
        }
    }

    /// The address that the maker gave a NIC; `None` where the driver does not tell.
    pub fn permanent_address(&self, name: &str) -> Option<MacAddress> {
        /// `struct ethtool_perm_addr` with room for an Ethernet address.
        #[repr(C)]
        struct PermanentAddress {
            command: u32,
            size: u32,
            octets: [u8; 32],
        }
        let mut answer = PermanentAddress {
            command: ETHTOOL_GET_PERMANENT_ADDRESS,
            size: 32,
            octets: [0; 32],
        };
        let mut request = request(name);
        request.ifr_ifru.ifru_data = (&raw mut answer).cast();
        self.call(libc::SIOCETHTOOL, &raw mut request).ok()?;
        let octets = answer.octets[..6].try_into().ok()?;
        MacAddress::new(octets).ok().filter(|_| answer.size == 6)
    }

    fn change_flags(&self, name: &str, change: impl Fn(i16) -> i16) -> io::Result<()> {
        let mut request = request(name);
        self.call(libc::SIOCGIFFLAGS, &raw mut request)?;
        // SAFETY: the kernel has just filled this member in.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = change(flags);
        self.call(libc::SIOCSIFFLAGS, &raw mut request)
    }

    fn call<T>(&self, operation: libc::c_ulong, argument: *mut T) -> io::Result<()> {
        // SAFETY: each caller pairs the operation with the structure that netdevice(7), route's
        // and ethtool's headers say it takes, and the structure outlives the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), operation as _, argument) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

/// An empty request about the interface; a name that is too long is cut, and then found nowhere.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: a request of zeros is valid: an empty name and no value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    let places = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name[..places].iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: `sockaddr` is the general form of `sockaddr_in`: same size, any bytes are valid.
    unsafe { std::mem::transmute(internet) }
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Interface {
        action,
        interface: name.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_are_in_network_order() {
        let address = socket_address(Ipv4Addr::new(192, 168, 100, 10));
        let bytes: Vec<u8> = address.sa_data[2..6]
            .iter()
            .map(|byte| *byte as u8)
            .collect();
        assert_eq!(bytes, [192, 168, 100, 10]);
    }

    #[test]
    fn long_names_stay_inside() {
        let request = request("a-name-that-is-longer-than-sixteen");
        assert_eq!(request.ifr_name[15], 0);
    }
}
