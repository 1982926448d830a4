//! `ipmi_sim` in a folder of its own: a machine whose power and boot device are two files, a FRU, a
//! temperature sensor, and a serial line that is a TCP socket of the test. It has cipher suite 3
//! only.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bessemer_bmc::Credentials;
use bessemer_bmc::ipmi::{IpmiBmc, IpmiConfig, IpmiEndpoint};
use tempfile::TempDir;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;

pub(crate) const USERNAME: &str = "admin";
/// `ipmi_sim` keeps sixteen bytes of a password.
pub(crate) const PASSWORD: &str = "planted-secret16";

/// Does what the simulated chassis is told, in files; see ipmi_lan(5), `chassis_control`.
const CHASSIS: &str = r#"#!/bin/sh
cd "$1" || exit 1
operation=$2
shift 2
case $operation in
get)
  for name; do
    case $name in power|boot) echo "$name:$(cat "$name")" ;; esac
  done ;;
set)
  echo "$@" >> commands
  while [ $# -gt 1 ]; do
    case $1 in
      power|boot) echo "$2" > "$1" ;;
      shutdown) echo 0 > power ;;
    esac
    shift 2
  done ;;
esac
"#;

/// A running `ipmi_sim`.
pub(crate) struct Reference {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Where its serial line arrives.
    pub(crate) serial: TcpListener,
}

impl Reference {
    pub(crate) async fn start() -> Self {
        let serial = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let address = free_address().await;
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("chassis"), CHASSIS).unwrap();
        std::fs::write(path("power"), "0\n").unwrap();
        std::fs::write(path("boot"), "none\n").unwrap();
        std::fs::write(path("lan.conf"), lan(&folder, address, &serial)).unwrap();
        std::fs::write(path("sim.emu"), emulation()).unwrap();
        std::fs::create_dir(path("state")).unwrap();
        let child = start(&folder);
        let mut reference = Self {
            child,
            folder,
            address,
            serial,
        };
        reference.wait_until_it_answers().await;
        reference
    }

    /// Ends it and starts it again: it knows none of the sessions any more.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.child = start(&self.folder);
        self.wait_until_it_answers().await;
    }

    async fn wait_until_it_answers(&mut self) {
        // An ASF presence ping, which needs no session.
        let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 1, 0, 0];
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        let mut buffer = [0; 64];
        for _ in 0..200 {
            let _ = socket.send(&ping).await;
            let answer = socket.recv(&mut buffer);
            match tokio::time::timeout(Duration::from_millis(100), answer).await {
                Ok(Ok(_)) => return,
                // Not there yet: the kernel says so at once.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => {}
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "ipmi_sim has ended");
        }
        panic!("ipmi_sim does not answer: {}", self.file("log"));
    }

    pub(crate) fn bmc(&self) -> IpmiBmc {
        bmc(self.address, PASSWORD).unwrap()
    }

    /// What a file of the simulated chassis says.
    pub(crate) fn file(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(name));
        text.unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn set_file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(folder: &TempDir) -> Child {
    let path = |name: &str| folder.path().join(name);
    let log = std::fs::File::create(path("log")).unwrap();
    Command::new("ipmi_sim")
        .arg("-n")
        .arg("-c")
        .arg(path("lan.conf"))
        .arg("-f")
        .arg(path("sim.emu"))
        .arg("-s")
        .arg(path("state"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("ipmi_sim of Debian's package openipmi; see scripts/install-dependencies")
}

/// A client of the BMC at `address`.
pub(crate) fn bmc(address: SocketAddr, password: &str) -> Result<IpmiBmc, bessemer_bmc::Error> {
    account(address, USERNAME, password)
}

pub(crate) fn account(
    address: SocketAddr,
    username: &str,
    password: &str,
) -> Result<IpmiBmc, bessemer_bmc::Error> {
    IpmiBmc::new(IpmiConfig {
        endpoint: IpmiEndpoint::new(&format!("ipmi://{address}")).unwrap(),
        credentials: Credentials::new(username, password),
        key: None,
    })
}

/// Far enough away for a busy machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// An address that nobody has at this moment.
async fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

fn lan(folder: &TempDir, address: SocketAddr, serial: &TcpListener) -> String {
    let (host, port) = (address.ip(), address.port());
    let serial = serial.local_addr().unwrap();
    let folder = folder.path().display();
    format!(
        r#"name "reference"
set_working_mc 0x20
  startlan 1
    addr {host} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789ab4def8123456789abcdef
  endlan
  chassis_control "sh {folder}/chassis {folder}"
  sol "tcp:{host}:{}" 115200
  user 1 true  ""        "test" user     10       none md2 md5 straight
  user 2 true  "{USERNAME}" "{PASSWORD}" admin 10 none md2 md5 straight
  user 3 true  "operator" "other" operator 10 none md2 md5 straight
"#,
        serial.port()
    )
}

fn emulation() -> String {
    let none = "000000000000000";
    let fru: Vec<_> = fru().iter().map(|byte| format!("{byte:#x}")).collect();
    format!(
        "mc_setbmc 0x20\n\
         mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
         mc_add_fru_data 0x20 0 {:#x} data {}\n\
         sensor_add 0x20 0 48 1 1\n\
         sensor_set_value 0x20 0 48 52 0\n\
         sensor_set_event_support 0x20 0 48 enable scanning per-state \
         {none} {none} {none} {none}\n\
         main_sdr_add 0x20 {}\n\
         mc_enable 0x20\n",
        fru.len(),
        fru.join(" "),
        sensor_record().join(" ")
    )
}

/// A temperature sensor, number 48: reading minus 10, in degrees Celsius (table 43-1).
fn sensor_record() -> Vec<String> {
    const NAME: &[u8] = b"Temp";
    let mut body = [0; 43];
    (body[0], body[2], body[3]) = (0x20, 48, 7);
    // Unit °C; M = 1; B = -10, ten bits of two's complement.
    (body[16], body[19], body[21], body[22]) = (1, 1, 0xf6, 0xc0);
    body[42] = 0xc0 | NAME.len() as u8;
    let head = [0, 0, 0x51, 1, (body.len() + NAME.len()) as u8];
    let bytes = head.iter().chain(&body).chain(NAME);
    bytes.map(|byte| format!("{byte:#x}")).collect()
}

/// A FRU with a board and a product area.
fn fru() -> Vec<u8> {
    let mut board = vec![1, 0, 25, 0, 0, 0];
    let mut product = vec![1, 0, 25];
    for text in ["Foundry", "Board", "BOARD-1", "PN"] {
        board.extend(field(text));
    }
    for text in ["Foundry", "Anvil 2", "PN-2", "v1", "SN-4711", "tag"] {
        product.extend(field(text));
    }
    let (board, product) = (area(board), area(product));
    let product_at = 1 + (board.len() / 8) as u8;
    let mut header = vec![1, 0, 0, 1, product_at, 0, 0];
    header.push(checksum(&header));
    [header, board, product].concat()
}

fn field(text: &str) -> Vec<u8> {
    [&[0xc0 | text.len() as u8], text.as_bytes()].concat()
}

fn area(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0xc1);
    while bytes.len() % 8 != 7 {
        bytes.push(0);
    }
    bytes[1] = (bytes.len() / 8 + 1) as u8;
    let sum = checksum(&bytes);
    bytes.push(sum);
    bytes
}

fn checksum(bytes: &[u8]) -> u8 {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    sum.wrapping_neg()
}
