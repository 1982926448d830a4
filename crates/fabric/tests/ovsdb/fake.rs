//! Peers that are no OVSDB server, or a hostile one.

use std::time::Duration;

use bessemer_core::port_plan::{Carries, PortMode, PortPlan, PortState};
use bessemer_core::reason::FailureClass;
use bessemer_fabric::{Error, OnFailure, OvsdbAddress, OvsdbSwitch, Switch};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// What a switch says of port p1 that is an access port of VLAN 7: one answer for each thing that the
/// driver asks.
fn port(port_row: &str) -> [String; 3] {
    let rows = |rows: &str| format!(r#"[{{"rows":[{rows}]}}]"#);
    [
        rows(r#"{"_uuid":["uuid","i"],"name":"p1","mtu_request":1500}"#),
        rows(port_row),
        rows(r#"{"_uuid":["uuid","b"]}"#),
    ]
}

const ROW: &str = r#"{"_uuid":["uuid","p"],"name":"p1","tag":7,"vlan_mode":"access","trunks":["set",[]],"cvlans":["set",[]],"protected":false,"lacp":["set",[]],"bond_mode":["set",[]],"other_config":["map",[["rstp-port-admin-edge","true"],["rstp-port-auto-edge","false"]]],"external_ids":["map",[["bessemer-description","n1"]]],"interfaces":["uuid","i"]}"#;

/// Sends `answers` in order, each once something was asked after the first, and returns what was asked.
async fn converse(stream: &mut TcpStream, answers: Vec<String>) -> std::io::Result<Vec<String>> {
    let mut asked = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        if index > 0 {
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).await?;
            asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
        }
        let id = index + 1;
        let answer = format!(r#"{{"id":{id},"error":null,"result":{answer}}}"#);
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(asked)
}

/// Answers the first request of one connection by `script`.
async fn peer<F, R>(script: F) -> (OvsdbSwitch, JoinHandle<()>)
where
    F: FnOnce(TcpStream) -> R + Send + 'static,
    R: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        assert!(String::from_utf8_lossy(&request[..length]).contains("transact"));
        // The driver may hang up in the middle; that is what is being tested.
        let _ = script(stream).await;
    });
    let address = OvsdbAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
    };
    (OvsdbSwitch::new("leaf1", address), task)
}

async fn answer(bytes: impl Into<Vec<u8>>) -> Result<Vec<PortState>, Error> {
    let bytes = bytes.into();
    let (driver, _task) = peer(|mut stream| async move {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    })
    .await;
    driver
        .read(&["p1".to_owned()], Instant::now() + Duration::from_secs(20))
        .await
}

#[tokio::test]
async fn answers_come_in_pieces_and_behind_other_messages() {
    let (driver, task) = peer(|mut stream| async move {
        stream.set_nodelay(true)?;
        let update = r#"{"id":null,"method":"update","params":["x",{}]}"#;
        let echo = r#"{"id":"echo","method":"echo","params":["are","you","there"]}"#;
        let stream_of_messages = format!("{update}\n{echo}");
        for byte in stream_of_messages.as_bytes() {
            stream.write_all(&[*byte]).await?;
            tokio::task::yield_now().await;
        }
        let mut echoed = vec![0; 4096];
        let length = stream.read(&mut echoed).await?;
        let echoed = String::from_utf8_lossy(&echoed[..length]).into_owned();
        assert!(
            echoed.contains(r#""result":["are","you","there"]"#),
            "{echoed}"
        );
        assert!(echoed.contains(r#""id":"echo""#), "{echoed}");
        converse(&mut stream, port(ROW).into()).await.map(drop)
    })
    .await;
    let states = driver
        .read(&["p1".to_owned()], Instant::now() + Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(states[0].carries, Carries::Access { vlan: 7 });
    task.await.unwrap();
}

#[tokio::test]
async fn nonsense_is_permanent() {
    let deep = format!(
        "{{\"id\":1,\"result\":{}{}}}",
        "[".repeat(9000),
        "]".repeat(9000)
    );
    for bytes in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "{\"id\":1,}",
        "{\"id\":2,\"result\":[],\"error\":null}",
        "{\"id\":\"1\",\"result\":[],\"error\":null}",
        "{\"id\":1,\"error\":null}",
        "{\"id\":1,\"result\":7,\"error\":null}",
        "{\"id\":1,\"result\":[],\"error\":null}",
        "{\"id\":1,\"result\":[null],\"error\":null}",
        "{\"id\":1,\"result\":[{\"rows\":7}],\"error\":null}",
        &deep,
    ] {
        let error = answer(bytes).await.unwrap_err();
        assert!(
            matches!(error, Error::Protocol { .. }),
            "{bytes:.80}: {error:?}"
        );
        assert_eq!(error.class(), FailureClass::Permanent);
    }
}

#[tokio::test]
async fn rows_of_the_wrong_shape_are_no_access_port() {
    for row in [
        r#"{}"#,
        r#"{"_uuid":["uuid","p"],"name":7}"#,
        r#"{"_uuid":["uuid","p"],"name":"p1"}"#,
        r#"{"_uuid":["uuid","p"],"name":"p1","tag":["set",[["uuid","x"]]],"interfaces":["uuid","i"]}"#,
    ] {
        let (driver, _task) = peer(move |mut stream| async move {
            converse(&mut stream, port(row).into()).await.map(drop)
        })
        .await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let states = match driver.read(&["p1".to_owned()], deadline).await {
            Ok(states) => states,
            // Without a port there is no bridge to ask for, and the script has an answer too many.
            Err(error) => panic!("{row}: {error}"),
        };
        assert!(
            matches!(states[0].carries, Carries::Other { .. }),
            "{row}: {}",
            states[0]
        );
    }
    for row in ["7", "null"] {
        let message = format!(r#"{{"id":1,"result":[{{"rows":[{row}]}}],"error":null}}"#);
        let error = answer(message).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{row}: {error:?}");
    }
}

#[tokio::test]
async fn refusals_are_repeated_in_short() {
    let long = format!("no\\u001b such {}", "database ".repeat(100));
    let whole = format!(r#"{{"id":1,"result":null,"error":"{long}"}}"#);
    let part = format!(
        r#"{{"id":1,"error":null,"result":[{{"error":"not allowed","details":"{long}"}}]}}"#
    );
    for message in [whole, part] {
        let error = answer(message).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.len() < 400 && text.contains("database") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}

#[tokio::test]
async fn endless_messages_end() {
    let long = format!("{{\"id\":1,\"result\":\"{}", "x".repeat((1 << 20) + 1));
    let error = answer(long).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    let chatter = "{\"id\":null,\"method\":\"update\",\"params\":[]}".repeat(1001);
    let error = answer(chatter).await.unwrap_err();
    assert!(error.to_string().contains("without answering"), "{error}");
}

#[tokio::test]
async fn a_connection_closed_in_the_middle_is_transient() {
    for bytes in ["", "{\"id\":1,\"res"] {
        let error = answer(bytes).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert_eq!(error.class(), FailureClass::Transient);
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let (driver, _task) = peer(|stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let deadline = Instant::now() + Duration::from_millis(80);
    let error = driver.read(&["p1".to_owned()], deadline).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
}

#[tokio::test]
async fn a_port_already_as_planned_is_only_waited_for() {
    let (driver, task) = peer(|mut stream| async move {
        let counters = r#"[{"count":1},{"rows":[{"next_cfg":5,"cur_cfg":5}]}]"#;
        let mut answers: Vec<String> = port(ROW).into();
        answers.push(counters.to_owned());
        answers.extend(port(ROW));
        let asked = converse(&mut stream, answers).await?;
        let settling = &asked[2];
        assert!(
            settling.contains("next_cfg") && !settling.contains("update"),
            "{settling}"
        );
        Ok(())
    })
    .await;
    let plan = PortPlan::port("p1", PortMode::Access { vlan: 7 }, "n1").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    driver
        .apply(&[plan], OnFailure::RollBack, deadline)
        .await
        .unwrap();
    task.await.unwrap();
}

/// A switch that takes nothing in while somebody waits for it, as if the network to it were gone.
#[tokio::test]
async fn what_nobody_waits_for_any_more_does_not_arrive() {
    let socket = TcpSocket::new_v4().unwrap();
    // The least that there is: the request does not fit, and waits on our side.
    socket.set_recv_buffer_size(1).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = OvsdbAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let ports: Vec<_> = (0..60).map(|number| format!("port{number}")).collect();
    let driver = OvsdbSwitch::new("leaf1", address);
    let limit = Instant::now() + Duration::from_millis(300);
    let (asked, accepted) = tokio::join!(driver.read(&ports, limit), listener.accept());
    assert!(matches!(asked, Err(Error::TimedOut { .. })), "{asked:?}");
    let (mut accepted, _) = accepted.unwrap();
    // Not at once: a program that another test starts at this moment has the connection, too, until it runs.
    let reset = accepted.ready(Interest::ERROR);
    timeout(Duration::from_secs(10), reset).await.ok();
    let mut arrived = Vec::new();
    // It may end as it does for whoever hangs up, or be reset.
    accepted.read_to_end(&mut arrived).await.ok();
    let whole = serde_json::from_slice::<serde_json::Value>(&arrived);
    assert!(whole.is_err(), "{} bytes have arrived", arrived.len());
}
