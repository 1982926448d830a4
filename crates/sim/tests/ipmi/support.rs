//! A controller with a simulated machine, and the programs that ask it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bessemer_bmc::Credentials as Account;
use bessemer_bmc::ipmi::{IpmiBmc, IpmiConfig, IpmiEndpoint};
use bessemer_sim::ipmi::IpmiServer;
use bessemer_sim::machine::SimulatedMachine;
use bessemer_sim::redfish::{Bmc, Credentials};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub(crate) const USERNAME: &str = "operator";
/// As long as IPMI allows.
pub(crate) const PASSWORD: &str = "planted-password-20b";

/// Programs answer in milliseconds; the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    pub(crate) machine: Arc<SimulatedMachine>,
    pub(crate) bmc: Arc<Bmc>,
    pub(crate) server: IpmiServer,
    folder: TempDir,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// On port 623 of a loopback address of this process's own, for programs that know no other.
    pub(crate) async fn start_on_the_usual_port() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self::start_at(SocketAddr::from(([127, 62, high, low], 623))).await
    }

    async fn start_at(listen: SocketAddr) -> Self {
        let machine = Arc::new(SimulatedMachine::numbered(7));
        let credentials = Credentials {
            username: USERNAME.into(),
            password: PASSWORD.into(),
        };
        let bmc = Bmc::new(machine.clone(), credentials);
        let server = IpmiServer::start(bmc.clone(), listen).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self {
            machine,
            bmc,
            server,
            folder,
        }
    }

    /// Our own client.
    pub(crate) fn client(&self, password: &str) -> IpmiBmc {
        self.client_with_key(password, None)
    }

    /// The same with a key K_g.
    pub(crate) fn client_with_key(&self, password: &str, key: Option<&[u8]>) -> IpmiBmc {
        IpmiBmc::new(IpmiConfig {
            endpoint: IpmiEndpoint::new(&self.server.url()).unwrap(),
            credentials: Account::new(USERNAME, password),
            key: key.map(|key| key.to_vec().into()),
        })
        .unwrap()
    }

    /// The words of an `ipmitool` call; the password comes from a file.
    pub(crate) fn ipmitool(&self, suite: &str, words: &str) -> Vec<String> {
        let address = self.server.address();
        let password = self.folder.path().join("password");
        let line = format!(
            "ipmitool -I lanplus -H {} -p {} -U {USERNAME} -f {} -C {suite} {words}",
            address.ip(),
            address.port(),
            password.display()
        );
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// Runs `ipmitool` and gives what it prints.
    pub(crate) async fn ask(&self, suite: &str, words: &str) -> String {
        let (succeeded, said) = self.try_to_ask(suite, words).await;
        assert!(succeeded, "{words}: {said}");
        said
    }

    /// The same, and whether it succeeded.
    pub(crate) async fn try_to_ask(&self, suite: &str, words: &str) -> (bool, String) {
        let line = self.ipmitool(suite, words);
        let asking = Command::new(&line[0])
            .args(&line[1..])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LIMIT, asking).await.unwrap();
        let output = output.expect("ipmitool; see scripts/install-dependencies");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        (output.status.success(), format!("{said}{complaint}"))
    }

    /// Starts a program on a terminal of its own, whose keys and screen are pipes.
    pub(crate) fn on_terminal(&self, line: &[String]) -> Child {
        Command::new("script")
            .args(["-q", "-e", "-c", &line.join(" "), "/dev/null"])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("script (util-linux)")
    }

    /// FreeIPMI's configuration: the password is not an argument there either.
    pub(crate) fn freeipmi_configuration(&self) -> String {
        let path = self.folder.path().join("freeipmi.conf");
        std::fs::write(&path, format!("username {USERNAME}\npassword {PASSWORD}\n")).unwrap();
        path.display().to_string()
    }
}
