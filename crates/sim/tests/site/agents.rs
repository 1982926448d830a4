//! Agents (and systems) that lie, repeat themselves, come too late or ask for what is not theirs.
//! Tests play them by hand: the machine hangs in its firmware, and what its boot was told is used
//! here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bessemer_core::cause::Cause;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::id::{BootId, ImageId};
use bessemer_core::lifecycle::{IntentKey, Step};
use bessemer_core::reason::Failure;
use bessemer_sim::agent::{Answer, Parameters, Protocol};
use bessemer_tls::{Trust, client_config};
use bessemer_wire::agent::{
    AgentStatus, ChunkUrl, CommandResult, ErasedDisk, Hello, MAX_AGENT_BODY, POLL_SECONDS, Poll,
    PollAnswer, Work,
};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::harness::disk::ConfigDrive;
use crate::harness::{SimNode, Site, eager, says};

/// An agent that is played by hand.
struct Player {
    protocol: Protocol,
    hello: Hello,
}

impl Player {
    fn new(node: &SimNode, boot: &Parameters, session: char) -> Self {
        Self {
            protocol: Protocol::new(boot).unwrap(),
            hello: Hello {
                boot: boot.boot,
                token: boot.token.clone(),
                session: session.to_string().repeat(64),
                identity: node.host.identity(),
                mac: node.host.mac,
                version: "played".into(),
            },
        }
    }

    async fn hello(&self) -> u16 {
        self.protocol.hello(&self.hello).await.unwrap().status
    }

    async fn poll(&self, status: AgentStatus) -> Answer {
        let poll = Poll {
            status,
            hurry: true,
        };
        let session = &self.hello.session;
        self.protocol.poll(session, &poll).await.unwrap()
    }

    /// Lets the conductor keep the poll open.
    async fn wait_for_command(&self) -> Answer {
        let poll = Poll {
            status: AgentStatus::Idle,
            hurry: false,
        };
        let session = &self.hello.session;
        self.protocol.poll(session, &poll).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.protocol.get(&self.hello.session, path).await.unwrap()
    }

    /// Asks until there is a command, and gives its name.
    async fn command(&self, site: &Site) -> IntentKey {
        site.wait("a command", async || {
            let answer = self.poll(AgentStatus::Idle).await;
            assert_eq!(answer.status, 200);
            let answer: PollAnswer = serde_json::from_slice(&answer.body).unwrap();
            answer.command.map(|command| command.id)
        })
        .await
    }

    /// Says what came of a command.
    async fn report(&self, command: IntentKey, result: CommandResult) {
        let status = AgentStatus::Done { command, result };
        assert_eq!(self.poll(status).await.status, 200);
    }
}

/// A site with a machine that hangs in its firmware while it is inspected.
async fn booting() -> (Site, SimNode, Parameters) {
    let site = Site::start_with(eager(), None).await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let boot = site.boot_of(&node).await;
    (site, node, boot)
}

/// How many agents were turned away for a reason with these words.
async fn refused(site: &Site, words: &str) -> usize {
    let events = site.events().await;
    let refused = |event: &&bessemer_wire::event::Event| {
        event.kind == "agent.refused" && event.message.contains(words)
    };
    events.iter().filter(refused).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_one_session() {
    let (site, node, boot) = booting().await;
    let first = Player::new(&node, &boot, 'a');
    let second = Player::new(&node, &boot, 'b');
    assert_eq!(first.hello().await, 200);
    assert_eq!(second.hello().await, 401);
    assert_eq!(refused(&site, "used already").await, 1);
    assert_eq!(second.poll(AgentStatus::Idle).await.status, 401);
    // An answer can be lost: the same agent may ask again, and nothing has happened to it.
    assert_eq!(first.hello().await, 200);
    says(first.command(&site).await, &["inspect"]);
    // Once its agent has called, a boot is offered to nobody.
    assert!(site.offered(&node).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_agents_that_claim_one_node_at_once_one_is_let_in() {
    let (site, node, boot) = booting().await;
    let players = ('a'..='f').map(|session| Player::new(&node, &boot, session));
    let players: Vec<_> = players.collect();
    let answers = join_all(players.iter().map(Player::hello)).await;
    let let_in = answers.iter().filter(|status| **status == 200).count();
    assert_eq!(let_in, 1, "{answers:?}");
    let turned_away = answers.iter().filter(|status| **status == 401).count();
    assert_eq!(turned_away, answers.len() - 1, "{answers:?}");
    // Operators see that somebody else has the token, and the one that was first goes on.
    assert!(refused(&site, "used already").await >= 1);
    let explained = site.api.explain_node(&node.name).await.unwrap();
    says(explained.json(), &["used already"]);
    let first = answers.iter().position(|status| *status == 200).unwrap();
    says(players[first].command(&site).await, &["inspect"]);
    for (index, player) in players.iter().enumerate() {
        let expected = if index == first { 200 } else { 401 };
        assert_eq!(player.poll(AgentStatus::Idle).await.status, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_machine_that_was_sent_to_boot_is_let_in() {
    let (site, node, boot) = booting().await;
    let good = Player::new(&node, &boot, 'a');
    let mut wrong = Player::new(&node, &boot, 'a');
    wrong.hello.token = "0".repeat(64);
    assert_eq!(wrong.hello().await, 401);
    assert_eq!(refused(&site, "token is wrong").await, 1);

    let mut wrong = Player::new(&node, &boot, 'a');
    wrong.hello.boot = BootId(Uuid::from_u128(7));
    assert_eq!(wrong.hello().await, 401);

    let mut wrong = Player::new(&node, &boot, 'a');
    wrong.hello.mac = "52:54:00:00:00:99".parse().unwrap();
    assert_eq!(wrong.hello().await, 401);
    assert_eq!(refused(&site, "52:54:00:00:00:99").await, 1);

    let mut wrong = Player::new(&node, &boot, 'a');
    wrong.hello.identity = MachineIdentity {
        serial: "SOMEBODY".into(),
        uuid: None,
    };
    assert_eq!(wrong.hello().await, 401);
    assert_eq!(refused(&site, "SOMEBODY").await, 1);

    let mut wrong = Player::new(&node, &boot, 'a');
    wrong.hello.session = "short".into();
    assert_eq!(wrong.hello().await, 400);

    // None of them used the token up.
    assert_eq!(good.hello().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_boot() {
    let (site, node, boot) = booting().await;
    let old = Player::new(&node, &boot, 'a');
    assert_eq!(old.hello().await, 200);
    let inspect = old.command(&site).await;
    site.api.hold_node(&node.name, "fan is loud").await.unwrap();
    site.wait_for_node(&node, "it to be held", |node| {
        node.provision_state == "held" && node.state.at_rest()
    })
    .await;
    assert_eq!(old.poll(AgentStatus::Idle).await.status, 401);
    assert_eq!(old.hello().await, 401);
    site.api.provide_node(&node.name).await.unwrap();
    let boot = site.boot_of(&node).await;
    let inventory = node.host.inventory.clone();
    let result = CommandResult::Inspected {
        inventory: Box::new(inventory),
    };
    let status = AgentStatus::Done {
        command: inspect,
        result,
    };
    assert_eq!(old.poll(status).await.status, 401);
    assert_eq!(old.hello().await, 401);
    assert_eq!(old.get("config-drive").await.status, 401);
    assert_eq!(site.node(&node).await.inventory, None);
    assert_eq!(Player::new(&node, &boot, 'b').hello().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_a_dead_agent_left_open_does_not_swallow_the_next_ones_command() {
    let (site, node, boot) = booting().await;
    let dead = Player::new(&node, &boot, 'a');
    assert_eq!(dead.hello().await, 200);
    let inspect = dead.command(&site).await;
    let outcome = AgentStatus::Failed {
        command: inspect,
        failure: Failure::transient(Cause::AgentFailed, "played"),
    };
    assert_eq!(dead.poll(outcome).await.status, 200);
    // The machine is switched off in mid-poll; nobody tells the server's end of the connection.
    let left_open = dead.wait_for_command();
    let next = async {
        let boot = site.boot_of(&node).await;
        let agent = Player::new(&node, &boot, 'b');
        assert_eq!(agent.hello().await, 200);
        agent.wait_for_command().await
    };
    let both = async { tokio::join!(left_open, next) };
    // Neither waits until its poll is over by itself.
    let limit = Duration::from_secs(POLL_SECONDS - 3);
    let (dead, next) = tokio::time::timeout(limit, both).await.expect("an answer");
    assert_eq!((dead.status, next.status), (401, 200));
    says(
        String::from_utf8_lossy(&next.body),
        &["\"work\":\"inspect\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_its_own_image_and_config_drive_only() {
    let (site, node) = Site::ready().await;
    site.import("other", &crate::harness::image::large(1)).await;
    let other = site.available().await;
    site.deploy("own").await;
    let (first, second) = match site.node(&node).await.server {
        Some(_) => (node, other),
        None => (other, node),
    };
    let own = site.api.image("small").await.unwrap().id;
    let foreign = site.api.image("other").await.unwrap().id;
    drop(first);

    second.machine.set_stuck_in_firmware(true);
    site.order("mine").await;
    let boot = site.boot_of(&second).await;
    let player = Player::new(&second, &boot, 'a');
    assert_eq!(player.get(&format!("images/{own}/map")).await.status, 401);
    assert_eq!(player.hello().await, 200);
    assert_eq!(player.get(&format!("images/{own}/map")).await.status, 200);
    assert_eq!(
        player.get(&format!("images/{own}/chunks/0/1")).await.status,
        200
    );
    assert_eq!(
        player
            .get(&format!("images/{own}/chunks/0/9999"))
            .await
            .status,
        404
    );
    assert_eq!(
        player.get(&format!("images/{foreign}/map")).await.status,
        404
    );
    assert_eq!(
        player
            .get(&format!("images/{foreign}/chunks/0/1"))
            .await
            .status,
        404
    );
    chunks_in_clear_are_for_this_boot(&site, &player, &boot, foreign).await;
    let drive = player.get("config-drive").await;
    assert_eq!(drive.status, 200);
    let drive = String::from_utf8_lossy(&drive.body);
    says(&drive, &["\"hostname\":\"mine\""]);
    assert!(!drive.contains("\"hostname\":\"own\""));

    // When nothing is being deployed, there is nothing to be had.
    site.api.delete_server("mine").await.unwrap();
    site.wait_for_state(&second, "clean wait").await;
    let boot = site.boot_of(&second).await;
    let player = Player::new(&second, &boot, 'b');
    assert_eq!(player.hello().await, 200);
    let still_good = site.server().site.keyring.chunk_token(boot.boot, own);
    let url = format!("{}/chunks/{}/{own}/{still_good}", base(&site), boot.boot);
    assert_eq!(chunks(&player.protocol, &url, 0, 1).await, 404);
    assert_eq!(player.get("config-drive").await.status, 404);
    assert_eq!(player.get(&format!("images/{own}/map")).await.status, 404);
}

/// Where the boot services listen.
fn base(site: &Site) -> String {
    format!("http://{}", site.server().boot_address.unwrap())
}

async fn chunks(protocol: &Protocol, url: &str, first: usize, count: usize) -> u16 {
    let url = ChunkUrl(url.to_owned());
    let answer = protocol.chunks_in_clear(&url, first, count).await;
    answer.unwrap().status
}

/// The URL in the command is good for its image, from the leased address, and nothing else.
async fn chunks_in_clear_are_for_this_boot(
    site: &Site,
    player: &Player,
    boot: &Parameters,
    foreign: ImageId,
) {
    let url = site
        .wait("a command", async || {
            let answer = player.poll(AgentStatus::Idle).await;
            let answer: PollAnswer = serde_json::from_slice(&answer.body).unwrap();
            let command = answer.command?;
            match command.work {
                Work::WriteImage {
                    chunks_in_clear, ..
                } => chunks_in_clear,
                Work::Prove { nonce } => {
                    let identity = player.hello.identity.clone();
                    let proven = CommandResult::Proven { nonce, identity };
                    player.report(command.id, proven).await;
                    None
                }
                other => panic!("{other:?}"),
            }
        })
        .await
        .0;
    let own = &player.protocol;
    assert_eq!(chunks(own, &url, 0, 2).await, 200);
    for (first, count) in [
        (0, 0),
        (0, 9999),
        (9999, 1),
        (usize::MAX, 1),
        (0, usize::MAX),
    ] {
        assert_eq!(
            chunks(own, &url, first, count).await,
            404,
            "{first}/{count}"
        );
    }
    let elsewhere = Parameters {
        address: site.address,
        ..boot.clone()
    };
    let elsewhere = Protocol::new(&elsewhere).unwrap();
    assert_eq!(chunks(&elsewhere, &url, 0, 1).await, 404, "another machine");
    let (path, token) = url.rsplit_once('/').unwrap();
    let wrong = format!("{path}/{}", "0".repeat(token.len()));
    assert_eq!(chunks(own, &wrong, 0, 1).await, 404, "a guessed token");
    let other_image = format!("{}/chunks/{}/{foreign}/{token}", base(site), boot.boot);
    assert_eq!(chunks(own, &other_image, 0, 1).await, 404);
    let right = site.server().site.keyring.chunk_token(boot.boot, foreign);
    let not_deployed = format!("{}/chunks/{}/{foreign}/{right}", base(site), boot.boot);
    assert_eq!(chunks(own, &not_deployed, 0, 1).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_is_not_believed() {
    let (site, node, boot) = booting().await;
    let player = Player::new(&node, &boot, 'a');
    assert_eq!(player.hello().await, 200);
    let inspect = player.command(&site).await;
    // A command that nobody gave.
    let made_up = IntentKey("1.cleaning.1.erase.1".into());
    player.report(made_up, CommandResult::Nothing).await;
    assert_eq!(player.command(&site).await, inspect);
    let inventory = Box::new(node.host.inventory.clone());
    player
        .report(inspect, CommandResult::Inspected { inventory })
        .await;
    // A disk that is said to be erased and was not read back.
    let erase = player.command(&site).await;
    says(&erase, &["erase"]);
    let disks = vec![ErasedDisk {
        name: "nvme0n1".into(),
        serial: node.host.inventory.disks[0].serial.clone(),
        method: "trust me".into(),
        verified_bytes: 0,
    }];
    player.report(erase, CommandResult::Erased { disks }).await;
    let shown = site.wait_for_state(&node, "clean failed").await;
    says(
        serde_json::to_string(&shown.state.reason).unwrap(),
        &[
            "did not verify that disk nvme0n1 (serial number",
            "is erased",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_than_the_bmc_manages_is_not_inspected() {
    let (site, node, boot) = booting().await;
    let player = Player::new(&node, &boot, 'a');
    assert_eq!(player.hello().await, 200);
    let inspect = player.command(&site).await;
    let mut inventory = Box::new(node.host.inventory.clone());
    inventory.identity.serial = "SOMEBODY".into();
    player
        .report(inspect, CommandResult::Inspected { inventory })
        .await;
    let shown = site.wait_for_state(&node, "inspect failed").await;
    says(
        serde_json::to_string(&shown.state.reason).unwrap(),
        &["runs on another machine", "SIM00001", "SOMEBODY"],
    );
    assert_eq!(shown.inventory, None);
}

/// Whether a call of this URL was believed.
async fn call(url: &str) -> u16 {
    let tls = client_config(&Trust::InsecureNoVerification).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy();
    let client = client.build().unwrap();
    let answer = client.post(url).body("instance_id=played").send().await;
    answer.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_calls_home_for_itself_only() {
    let (site, node) = Site::ready().await;
    node.host.faults.silent_os.store(2, Ordering::SeqCst);
    let url = async |name: &str| {
        site.order(name).await;
        site.wait_for_node(&node, "its system to be started", |node| {
            node.state.step == Step::AwaitOs
        })
        .await;
        let vendor_data = ConfigDrive::read(node.disk()).vendor_data.unwrap();
        let script = vendor_data["cloud-init"].as_str().unwrap();
        let (_, after) = script.split_once("\nurls='").unwrap();
        after.split_once('\'').unwrap().0.to_owned()
    };
    let first = url("first").await;
    let (path, token) = first.rsplit_once('/').unwrap();
    assert_eq!(
        call(&format!("{path}/{}", "0".repeat(token.len()))).await,
        404
    );
    assert_eq!(site.api.server("first").await.unwrap().active_at, None);
    assert_eq!(call(&first).await, 204);
    site.wait_for_active("first").await;
    site.release("first", &node).await;

    let second = url("second").await;
    assert_eq!(call(&first).await, 404, "a former tenant speaks for nobody");
    assert_eq!(site.api.server("second").await.unwrap().active_at, None);
    assert_eq!(call(&second).await, 204);
    site.wait_for_active("second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_and_senseless_words_are_refused() {
    let (_site, node, boot) = booting().await;
    let mut player = Player::new(&node, &boot, 'a');
    player.hello.version = "x".repeat(MAX_AGENT_BODY);
    assert_eq!(player.hello().await, 413);
    player.hello.version = "\u{1b}[31mred\n".into();
    assert_eq!(player.hello().await, 200);
    assert_eq!(player.get("images/no-uuid/map").await.status, 400);
    assert_eq!(player.get("nothing").await.status, 404);
}
