//! A stream of orders on two servers and one PostgreSQL database, while the database crashes, stops
//! and stands still, and while each server is stopped and started in turn. No order fails, and nothing
//! is done twice. And a database that is away for longer than a machine may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bessemer_client::{Client, Error};
use bessemer_core::lifecycle::{Step, Timing};
use bessemer_server::Server;
use bessemer_server::config::DatabaseUrl;
use bessemer_wire::api::{Node, ServerStatus};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::conductors::postgres::{self, Cluster};
use crate::harness::disk::assert_erased;
use crate::harness::{SimNode, Site, eager, order};

/// How many servers each buyer orders, one after another.
const ROUNDS: usize = 2;

/// The longest that an order takes, with all that goes wrong meanwhile, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at something that has not happened yet.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Two servers, and two machines for rent.
async fn site(url: String) -> (Site, [SimNode; 2]) {
    let mut site = Site::start_as(eager(), None, |config| {
        config.database_url = Some(DatabaseUrl(url));
    })
    .await;
    site.start_second(None).await;
    let nodes = [site.available().await, site.available().await];
    site.offer(&nodes[0]).await;
    (site, nodes)
}

/// Two buyers who order at either of the two servers. `refused` counts how often they had to ask
/// again.
struct Buyers {
    orders: Vec<JoinHandle<()>>,
    refused: Arc<AtomicU64>,
}

impl Buyers {
    fn start(site: &Site) -> Self {
        let refused = Arc::new(AtomicU64::new(0));
        let orders = (0..2).map(|buyer| {
            let apis = apis(site);
            let refused = refused.clone();
            let runtime = tokio::runtime::Handle::current();
            let buyer = Buyer {
                apis,
                refused,
                buyer,
            };
            tokio::task::spawn_blocking(move || runtime.block_on(buyer.rent_all()))
        });
        Self {
            orders: orders.collect(),
            refused,
        }
    }

    fn have_all(&self) -> bool {
        self.orders.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all orders have been carried out; how often somebody had to ask again.
    async fn end(self) -> u64 {
        for orders in self.orders {
            orders.await.unwrap();
        }
        self.refused.load(Ordering::SeqCst)
    }
}

fn name(buyer: usize, round: usize) -> String {
    format!("web{buyer}-{round}")
}

fn apis(site: &Site) -> [Client; 2] {
    [site.server(), site.second()].map(|server| {
        let url = format!("http://{}", server.api_address);
        Client::new(&url, Some(&site.token)).unwrap()
    })
}

struct Buyer {
    apis: [Client; 2],
    refused: Arc<AtomicU64>,
    buyer: usize,
}

impl Buyer {
    async fn rent_all(&self) {
        for round in 0..ROUNDS {
            self.rent(&name(self.buyer, round)).await;
        }
    }

    /// Orders a server, waits until it is active, gives it back, and waits until it is gone.
    async fn rent(&self, name: &str) {
        let order = order(name);
        self.until(name, "to be placed", async |api| {
            api.create_server(&order, name).await.map(|_| true)
        })
        .await;
        self.until(name, "to be active", async |api| {
            let server = api.server(name).await?;
            assert_ne!(server.status, ServerStatus::Error, "{}", server.json());
            Ok(server.status == ServerStatus::Active)
        })
        .await;
        self.until(name, "to be gone", async |api| {
            match api.delete_server(name).await {
                Err(error) if error.is_not_found() => Ok(true),
                result => result.map(|_| false),
            }
        })
        .await;
    }

    /// Asks one server after the other until the answer is yes.
    async fn until(
        &self,
        name: &str,
        what: &str,
        ask: impl AsyncFn(&Client) -> Result<bool, Error>,
    ) {
        let started = Instant::now();
        for api in self.apis.iter().cycle().skip(self.buyer) {
            match ask(api).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if error.is_outage() => {
                    self.refused.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) if is_short(&error) => {}
                Err(error) => panic!("{name}: {error}"),
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{name} was waited for in vain {what}"
            );
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether the machines that were given back last are not erased yet.
fn is_short(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if problem.kind.ends_with(":no-matching-node"))
}

/// Steps that agents have carried out.
fn steps(nodes: &[SimNode; 2]) -> usize {
    nodes.iter().map(|node| node.host.carried_out().len()).sum()
}

/// Waits until agents have come some steps further, or all orders are carried out. Whether they have
/// come so far.
async fn in_the_middle(buyers: &Buyers, nodes: &[SimNode; 2]) -> bool {
    let (started, before) = (Instant::now(), steps(nodes));
    while steps(nodes) < before + 3 {
        if buyers.have_all() {
            return false;
        }
        assert!(started.elapsed() < PATIENCE, "nothing goes on");
        sleep(LOOK_AGAIN).await;
    }
    true
}

/// Waits until a server says that it cannot work now, and when to ask again.
async fn says_when_to_come_back(site: &Site, at: &Server) {
    let request = format!(
        "GET /v1/nodes HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        site.token
    );
    let started = Instant::now();
    loop {
        let mut answer = String::new();
        let mut socket = TcpStream::connect(at.api_address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.read_to_string(&mut answer).await.unwrap();
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
            assert!(
                answer.contains("urn:bessemer:problem:unavailable"),
                "{answer}"
            );
            return;
        }
        assert!(started.elapsed() < PATIENCE, "it does not notice");
        sleep(LOOK_AGAIN).await;
    }
}

/// Nothing failed and nothing was done twice.
async fn assert_once_each(site: &Site, nodes: &[SimNode; 2]) {
    for node in nodes {
        site.wait_for_state(node, "available").await;
        assert_erased(node.disk());
    }
    let events = site.events().await;
    let failed = events.iter().find(|event| event.kind == "node.failed");
    assert!(failed.is_none(), "{failed:?}");
    for buyer in 0..2 {
        for round in 0..ROUNDS {
            let name = format!("`{}`", name(buyer, round));
            let of = |kind: &str| {
                let all = events.iter().filter(|event| event.kind == kind);
                all.filter(|event| event.message.contains(&name)).count()
            };
            assert_eq!(
                (of("server.active"), of("server.deleted")),
                (1, 1),
                "{name}"
            );
        }
    }
    // One POST each to enroll, one for each order, and one to erase what it leaves.
    let posts: u64 = nodes.iter().map(SimNode::boots).sum();
    assert_eq!(posts, 2 + 2 * 2 * ROUNDS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_when_the_database_has_crashed_or_is_taken_over() {
    let cluster = Cluster::start().await;
    let (site, nodes) = site(cluster.new_database().await).await;
    let buyers = Buyers::start(&site);
    let mut strikes = 0;
    while strikes < 4 && in_the_middle(&buyers, &nodes).await {
        match strikes % 2 {
            0 => cluster.crash().await,
            _ => cluster.stop().await,
        }
        if strikes < 2 {
            // Away until everybody has noticed.
            says_when_to_come_back(&site, site.server()).await;
            says_when_to_come_back(&site, site.second()).await;
        }
        cluster.start_again().await;
        strikes += 1;
    }
    let refused = buyers.end().await;
    assert!(strikes >= 2, "the orders were too quick");
    assert!(refused > 0, "nobody noticed anything");
    for server in [site.server(), site.second()] {
        let comebacks = server.site.store.comeback_after(0).await;
        assert!(comebacks <= strikes, "{comebacks} comebacks");
    }
    assert_once_each(&site, &nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_while_the_servers_are_replaced_in_turn() {
    let (mut site, nodes) = site(postgres::new_database().await).await;
    let buyers = Buyers::start(&site);
    let mut replaced = 0;
    while replaced < 6 && in_the_middle(&buyers, &nodes).await {
        if replaced % 2 == 0 {
            site.stop().await;
            site.start_again(None).await;
        } else {
            site.stop_second().await;
            site.start_second_again().await;
        }
        replaced += 1;
    }
    buyers.end().await;
    assert!(replaced >= 2, "the orders were too quick");
    assert_once_each(&site, &nodes).await;
}

/// How long the database is away at least: long enough to be no hiccup.
const ABSENCE: SignedDuration = SignedDuration::from_secs(12);

/// The machine has booted, and what it says does not come through until the database is back. Then it is late
/// for a deadline that passed while nobody could have heard it.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_not_given_up_because_our_database_was_away() {
    let cluster = Cluster::start().await;
    let url = cluster.new_database().await;
    let timing = Timing {
        agent_boot_deadline: 15,
        ..eager()
    };
    let site = Site::start_as(timing, None, |config| {
        config.database_url = Some(DatabaseUrl(url));
    })
    .await;
    let node = site.machine().await;
    node.host.faults.cut_off.store(true, Ordering::SeqCst);
    site.api.create_node(&node.request()).await.unwrap();
    let (attempt, deadline) = loop {
        let waits = |node: &Node| node.state.step == Step::AwaitAgent;
        let waiting = site
            .wait_for_node(&node, "it to be waited for", waits)
            .await;
        cluster.stop().await;
        let deadline = waiting.state.deadline.expect("every wait has one");
        if Timestamp::now() < deadline {
            break (waiting.state.attempt, deadline);
        }
        // Too slow: the next attempt, then.
        cluster.start_again().await;
        site.wait_for_node(&node, "its next attempt", |node| {
            node.state.attempt > waiting.state.attempt
        })
        .await;
    };
    let back = deadline.max(Timestamp::now() + ABSENCE);
    site.wait("its deadline to pass", async || {
        (Timestamp::now() > back).then_some(())
    })
    .await;
    cluster.start_again().await;

    let again = |node: &Node| node.state.deadline.is_some_and(|at| at > deadline);
    let waiting = site
        .wait_for_node(&node, "it to have its time again", again)
        .await;
    assert_eq!(
        (waiting.state.step, waiting.state.attempt),
        (Step::AwaitAgent, attempt)
    );
    node.host.faults.cut_off.store(false, Ordering::SeqCst);
    let waiting = site.wait_for_state(&node, "available").await;
    assert_eq!(
        waiting.state.posts,
        u64::from(attempt),
        "nobody paid for it"
    );
    assert_erased(node.disk());
}
