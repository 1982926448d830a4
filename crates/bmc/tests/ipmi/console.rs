//! Serial over LAN against `ipmi_sim`, whose serial line is a TCP connection to the test.

use std::time::Duration;

use bessemer_bmc::{Bmc, SerialConsole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::reference::{PASSWORD, Reference, bmc, soon};
use crate::relay::{Relay, Trouble};

const LIMIT: Duration = Duration::from_secs(60);

/// Numbered lines, so that a lost, doubled or swapped piece shows.
fn lines(count: usize) -> Vec<u8> {
    let lines = (0..count).map(|number| format!("line {number} of what the machine says\r\n"));
    lines.collect::<String>().into_bytes()
}

async fn read(console: &mut SerialConsole, length: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < length {
        let piece = tokio::time::timeout(LIMIT, console.read()).await;
        let piece = piece.unwrap_or_else(|_| panic!("{} of {length} bytes", heard.len()));
        heard.extend(piece.unwrap().expect("more"));
    }
    heard
}

async fn serial(reference: &Reference) -> TcpStream {
    let accepted = tokio::time::timeout(LIMIT, reference.serial.accept()).await;
    accepted.unwrap().unwrap().0
}

async fn both_ways(trouble: Trouble, seed: u64) {
    let reference = Reference::start().await;
    let relay = Relay::start(reference.address, trouble, seed).await;
    let mut machine = serial(&reference).await;
    let bmc = bmc(relay.address, PASSWORD).unwrap();
    let mut console = bmc.open_console(soon()).await.unwrap();
    let said = lines(60);
    machine.write_all(&said).await.unwrap();
    let heard = read(&mut console, said.len()).await;
    assert_eq!(
        String::from_utf8_lossy(&heard),
        String::from_utf8_lossy(&said)
    );

    let typed = lines(10);
    assert!(console.write(&typed).await);
    let mut arrived = vec![0; typed.len()];
    let arriving = machine.read_exact(&mut arrived);
    tokio::time::timeout(LIMIT, arriving)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&arrived),
        String::from_utf8_lossy(&typed)
    );
    console.close().await;
}

#[tokio::test]
async fn bytes_go_both_ways() {
    both_ways(Trouble::default(), 1).await;
}

#[tokio::test]
async fn bytes_go_both_ways_over_a_flaky_wire_in_order_and_once() {
    let flaky = Trouble {
        lost: 10,
        twice: 20,
        late: 10,
        garbage: 20,
        in_order_to_the_bmc: true,
    };
    both_ways(flaky, 7).await;
}

#[tokio::test]
async fn a_console_that_another_session_has_is_taken_from_it() {
    let reference = Reference::start().await;
    let mut machine = serial(&reference).await;
    let (first, second) = (reference.bmc(), reference.bmc());
    let _theirs = first.open_console(soon()).await.unwrap();
    let mut ours = second.open_console(soon()).await.unwrap();
    machine.write_all(b"for whoever has it").await.unwrap();
    assert_eq!(read(&mut ours, 18).await, b"for whoever has it");
    ours.close().await;
    // Given back, it can be had again.
    let again = second.open_console(soon()).await.unwrap();
    again.close().await;
}

#[tokio::test]
async fn a_bmc_that_goes_away_ends_the_console_with_a_reason() {
    let reference = Reference::start().await;
    let relay = Relay::start(reference.address, Trouble::default(), 1).await;
    let _machine = serial(&reference).await;
    let bmc = bmc(relay.address, PASSWORD).unwrap();
    let mut console = bmc.open_console(soon()).await.unwrap();
    relay.cut(true);
    let ended = tokio::time::timeout(LIMIT, console.read()).await.unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("serial console was lost"), "{error}");
    assert_eq!(console.read().await.unwrap(), None);
}
