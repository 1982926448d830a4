//! Downloads from a web server that does what it is told, most of it wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_image::Error;
use bessemer_image::digest::Checksum;
use bessemer_image::import::{
    ChecksumSource, Credentials, Import, Limits, Progress, Report, Source, Web, import, redirects,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Bench, SIZE, assemble, limits, raw_disk, sha256};

/// How one request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// As asked: all of it, or the range.
    Good,
    /// Without a length, in one chunk.
    Chunked,
    /// All of it, whatever range was asked for.
    Whole,
    /// So many bytes of what was asked for; then the connection closes.
    CutOff(usize),
    /// The same, and then silence on an open connection.
    Hang(usize),
    /// A range that is not the one asked for.
    WrongRange,
    /// This status line and nothing else.
    Status(&'static str),
    /// A redirect.
    To(String),
}

/// A web server on loopback. It answers as listed, and then as the last one says.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    pub(crate) content: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    pub(crate) async fn start(content: Vec<u8>, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let content = Arc::new(Mutex::new(content));
        let (seen, served) = (requests.clone(), content.clone());
        let mut answers = VecDeque::from(answers.to_vec());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (seen, served) = (seen.clone(), served.lock().unwrap().clone());
                let answer = match answers.len() {
                    1 => answers[0].clone(),
                    _ => answers.pop_front().unwrap(),
                };
                tokio::spawn(serve(socket, seen, served, answer));
            }
        });
        Self {
            url,
            requests,
            content,
        }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
    content: Vec<u8>,
    answer: Answer,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let from = head
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="))
        .and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    seen.lock().unwrap().push(head);
    let (reply, body) = reply(&content, from, &answer);
    let _ = socket.write_all(reply.as_bytes()).await;
    let _ = socket.write_all(&body).await;
    if let Answer::Hang(_) = answer {
        let _ = socket.read(&mut [0; 1]).await;
    }
}

fn reply(content: &[u8], from: Option<usize>, answer: &Answer) -> (String, Vec<u8>) {
    let size = content.len();
    let from = match answer {
        Answer::Whole => None,
        Answer::WrongRange => Some(from.unwrap_or(0) + 1),
        _ => from,
    };
    let rest = &content[from.unwrap_or(0).min(size)..];
    let mut head = match from {
        Some(from) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\n",
            size - 1
        ),
        None => "HTTP/1.1 200 OK\r\n".into(),
    };
    head.push_str("ETag: \"one\"\r\nConnection: close\r\n");
    match answer {
        Answer::Chunked => {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            let mut body = format!("{:x}\r\n", rest.len()).into_bytes();
            body.extend_from_slice(rest);
            body.extend_from_slice(b"\r\n0\r\n\r\n");
            return (head, body);
        }
        Answer::Status(status) => {
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return (head, Vec::new());
        }
        Answer::To(url) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return (head, Vec::new());
        }
        _ => {}
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", rest.len()));
    let sent = match answer {
        Answer::CutOff(bytes) | Answer::Hang(bytes) => &rest[..rest.len().min(*bytes)],
        _ => rest,
    };
    (head, sent.to_vec())
}

pub(crate) fn web(url: &str) -> Web {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirects())
        .build()
        .unwrap();
    Web {
        client,
        url: url.parse().unwrap(),
        credentials: None,
    }
}

/// A disk, a server that has it, and an order to import it from there.
pub(crate) async fn offered(bench: &Bench, answers: &[Answer]) -> (Server, Import) {
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let content = std::fs::read(&raw).unwrap();
    let server = Server::start(content, answers).await;
    let request = Import {
        source: Source::Web(web(&format!("{}/images/disk.img", server.url))),
        ..bench.request(&raw)
    };
    (server, request)
}

#[tokio::test]
async fn an_image_comes_over_http_with_progress() {
    for (answer, total) in [(Answer::Good, Some(SIZE)), (Answer::Chunked, None)] {
        let bench = Bench::new();
        let (server, request) = offered(&bench, &[answer]).await;
        let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let report: Report = {
            let seen = seen.clone();
            Arc::new(move |progress| seen.lock().unwrap().push(progress))
        };
        let image = import(&bench.store, &request, report).await.unwrap();
        assert!(assemble(&image) == *server.content.lock().unwrap());
        let seen = seen.lock().unwrap();
        assert!(
            seen.contains(&Progress::Fetching { done: SIZE, total }),
            "{seen:?}"
        );
        let last = Progress::Storing {
            done: SIZE,
            total: SIZE,
        };
        assert_eq!(seen.last(), Some(&last));
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_was() {
    for (answers, ranges) in [
        (
            vec![
                Answer::CutOff(3 << 20),
                Answer::CutOff(1 << 20),
                Answer::Good,
            ],
            vec![0, 3 << 20, 4 << 20],
        ),
        (
            vec![
                Answer::CutOff(3 << 20),
                Answer::Status("503 Later"),
                Answer::Good,
            ],
            vec![0, 3 << 20, 3 << 20],
        ),
        (vec![Answer::Hang(1 << 20), Answer::Good], vec![0, 1 << 20]),
        // A server without ranges sends everything again.
        (
            vec![Answer::CutOff(3 << 20), Answer::Whole],
            vec![0, 3 << 20],
        ),
        (
            vec![Answer::CutOff(3 << 20), Answer::WrongRange, Answer::Good],
            vec![0, 3 << 20, 0],
        ),
        (
            vec![
                Answer::CutOff(3 << 20),
                Answer::Status("416 Range Not Satisfiable"),
                Answer::Good,
            ],
            vec![0, 3 << 20, 0],
        ),
    ] {
        let bench = Bench::new();
        let (server, request) = offered(&bench, &answers).await;
        let request = Import {
            limits: waiting_for(&answers[0], limits()),
            ..request
        };
        let image = bench.import(&request).await;
        let image = image.unwrap_or_else(|error| panic!("{answers:?}: {error}"));
        assert!(assemble(&image) == *server.content.lock().unwrap());
        let asked: Vec<_> = server
            .requests()
            .iter()
            .map(|head| range_of(head))
            .collect();
        assert_eq!(asked, ranges, "{answers:?}");
    }
}

/// Silence is borne for long unless it is what the test is about.
fn waiting_for(answer: &Answer, limits: Limits) -> Limits {
    match answer {
        Answer::Hang(_) => Limits {
            stall: Duration::from_millis(500),
            ..limits
        },
        _ => limits,
    }
}

/// From where on a request wants bytes; a range comes with the tag of what it continues.
fn range_of(head: &str) -> usize {
    let Some((_, rest)) = head.split_once("range: bytes=") else {
        return 0;
    };
    assert!(head.contains("if-range: \"one\""), "{head}");
    rest.split('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_download_that_gets_nowhere_ends_and_leaves_nothing() {
    let quick = Limits {
        retries: 2,
        ..limits()
    };
    for (answer, what, tries) in [
        (Answer::CutOff(0), "transfer failed", 3),
        (Answer::Hang(0), "nothing arrived", 3),
        (Answer::Status("500 Oops"), "500", 3),
        (Answer::Status("404 Not Found"), "404", 1),
        (Answer::Status("401 Who"), "user name", 1),
    ] {
        let bench = Bench::new();
        let limits = waiting_for(&answer, quick);
        let (server, request) = offered(&bench, &[answer]).await;
        let request = Import { limits, ..request };
        let error = bench.refused(&request).await;
        let text = causes(&error);
        assert!(text.contains(what), "{what}: {text}");
        assert_eq!(server.requests().len(), tries, "{what}");
    }
    for answer in [Answer::Good, Answer::Chunked] {
        let bench = Bench::new();
        let (_server, request) = offered(&bench, &[answer]).await;
        let limits = Limits {
            source_size: 1 << 20,
            ..limits()
        };
        let error = bench.refused(&Import { limits, ..request }).await;
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    let bench = Bench::new();
    let (_server, request) = offered(&bench, &[Answer::Good]).await;
    let request = Import {
        source: Source::Web(web("ftp://127.0.0.1/disk.img")),
        ..request
    };
    let error = bench.refused(&request).await;
    assert!(error.to_string().contains("ftp"), "{error}");
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[tokio::test]
async fn pieces_of_different_files_are_fetched_again_as_one() {
    let bench = Bench::new();
    let answers = [Answer::CutOff(3 << 20), Answer::Good];
    let (server, request) = offered(&bench, &answers).await;
    // The first piece is of the file of yesterday.
    let today = server.content.lock().unwrap().clone();
    server.content.lock().unwrap()[1 << 20] ^= 1;
    let (content, renewed) = (server.content.clone(), today.clone());
    let report: Report = Arc::new(move |_| *content.lock().unwrap() = renewed.clone());
    let image = import(&bench.store, &request, report).await.unwrap();
    assert!(assemble(&image) == today);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn redirects_lead_somewhere_or_are_refused() {
    let bench = Bench::new();
    let (mirror, request) = offered(&bench, &[Answer::Good]).await;
    let to_mirror = Answer::To(format!("{}/pool/disk.img", mirror.url));
    let origin = Server::start(Vec::new(), &[to_mirror]).await;
    let mut origin_web = web(&format!("{}/disk.img", origin.url));
    origin_web.credentials = Some(Credentials {
        username: "me".into(),
        password: "planted".into(),
    });
    let through = Import {
        source: Source::Web(origin_web),
        ..request.clone()
    };
    let image = bench.import(&through).await.unwrap();
    assert!(assemble(&image) == *mirror.content.lock().unwrap());
    // me:planted
    assert!(origin.requests()[0].contains("authorization: basic bwu6cgxhbnrlza=="));
    assert!(
        !mirror.requests()[0].contains("authorization"),
        "told to another host"
    );
    bench.store.remove("debian-12").unwrap();

    let circle = Server::start(
        Vec::new(),
        &[
            Answer::To("/a".into()),
            Answer::To("/b".into()),
            Answer::To("/a".into()),
        ],
    )
    .await;
    let endless: Vec<_> = (0..20)
        .map(|number| Answer::To(format!("/{number}")))
        .collect();
    let endless = Server::start(Vec::new(), &endless).await;
    for (server, what, most) in [(circle, "in a circle", 3), (endless, "more than ten", 12)] {
        let request = Import {
            source: Source::Web(web(&format!("{}/start", server.url))),
            ..request.clone()
        };
        let error = causes(&bench.refused(&request).await);
        assert!(error.contains(what), "{error}");
        assert!(server.requests().len() <= most, "{:?}", server.requests());
    }
}

#[tokio::test]
async fn checksums_are_read_from_the_web() {
    let bench = Bench::new();
    let (server, request) = offered(&bench, &[Answer::Good]).await;
    let Checksum::Sha256(sum) = sha256(&server.content.lock().unwrap()) else {
        panic!()
    };
    let good = format!("{sum} *disk.img\n");
    let other = format!("{sum}  other.img\n");
    let by = |checksum| Import {
        checksum,
        ..request.clone()
    };
    let listed = Server::start(good.clone().into(), &[Answer::Good]).await;
    let from = |server: &Server| web(&format!("{}/sums/SHA256SUMS", server.url));
    let image = bench
        .import(&by(ChecksumSource::Listed(from(&listed))))
        .await
        .unwrap();
    assert_eq!(image.checksum(), Checksum::Sha256(sum));
    bench.store.remove("debian-12").unwrap();

    let elsewhere = Server::start(other.into(), &[Answer::Good]).await;
    let error = bench
        .refused(&by(ChecksumSource::Listed(from(&elsewhere))))
        .await;
    assert!(
        error.to_string().contains("does not name `disk.img`"),
        "{error}"
    );
    let page = Server::start(b"<html>".to_vec(), &[Answer::Good]).await;
    let error = bench
        .refused(&by(ChecksumSource::Listed(from(&page))))
        .await;
    assert!(error.to_string().contains("there is none in"), "{error}");
    let endless = Server::start(vec![b'\n'; 5 << 20], &[Answer::Good]).await;
    let error = bench
        .refused(&by(ChecksumSource::Listed(from(&endless))))
        .await;
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");

    // Debian has the one, Ubuntu the other.
    let answers = [Answer::Status("404 Not Found"), Answer::Good];
    let beside = Server::start(good.into(), &answers).await;
    let source = web(&format!("{}/images/disk.img", beside.url));
    let image = bench
        .import(&by(ChecksumSource::Beside(source)))
        .await
        .unwrap();
    assert_eq!(image.checksum(), Checksum::Sha256(sum));
    let asked = beside.requests();
    assert!(
        asked[0].starts_with("get /images/sha256sums "),
        "{}",
        asked[0]
    );
    assert!(
        asked[1].starts_with("get /images/sha512sums "),
        "{}",
        asked[1]
    );
    bench.store.remove("debian-12").unwrap();
    let nothing = Server::start(Vec::new(), &[Answer::Status("404 Not Found")]).await;
    let source = web(&format!("{}/images/disk.img", nothing.url));
    let error = bench.refused(&by(ChecksumSource::Beside(source))).await;
    assert!(error.to_string().contains("neither"), "{error}");
}
