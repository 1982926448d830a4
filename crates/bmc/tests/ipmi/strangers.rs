//! Somebody who answers in a BMC's place, with whatever.

use std::time::Duration;

use bessemer_bmc::Bmc;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::reference::{PASSWORD, bmc};

/// Answers every datagram with the next of `answers`, in turn, some with the tag of the question.
async fn stranger(socket: UdpSocket, answers: Vec<(Vec<u8>, bool)>) {
    let mut buffer = [0; 2048];
    for (mut answer, aimed) in answers.into_iter().cycle() {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            return;
        };
        if aimed {
            // The right headers and tags, so that what follows is looked at.
            let head = length.min(17);
            let mut whole = buffer[..head].to_vec();
            if let Some(kind) = whole.get_mut(5) {
                *kind |= 1;
            }
            whole.append(&mut answer);
            answer = whole;
        }
        let _ = socket.send_to(&answer, client).await;
    }
}

#[test]
fn garbage_from_a_stranger_is_an_error_and_nothing_worse() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = (
        proptest::collection::vec(any::<u8>(), 0..120),
        any::<bool>(),
    );
    let answers = proptest::collection::vec(answer, 1..8);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 12,
        ..ProptestConfig::default()
    });
    runner
        .run(&answers, |answers| {
            runtime.block_on(async {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let bmc = bmc(socket.local_addr().unwrap(), PASSWORD).unwrap();
                let answering = tokio::spawn(stranger(socket, answers));
                let deadline = Instant::now() + Duration::from_millis(300);
                assert!(bmc.power(deadline).await.is_err());
                answering.abort();
            });
            Ok(())
        })
        .unwrap();
}
