//! `kill -9` of the real server in the middle of an image's import: the next one goes on, or says
//! why not, and leaves nothing behind.

#[path = "bad_states/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_client::{Client, Error};
use bessemer_image::chunk::Unpacker;
use bessemer_image::store::ImageStore;
use bessemer_wire::api::{Image, ImageCreate, ImageStatus, ImageStep};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Bytes of the image.
const SIZE: usize = 48 << 20;

/// How far it is fetched before the server is killed.
const HALF: usize = 20 << 20;

/// The longest that anything may take. Nothing takes nearly as long; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(90);

/// Between two looks at something that has not happened yet.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_download_goes_on_after_the_last_byte_that_arrived() {
    let image = disk();
    let source = WebServer::start(image.clone()).await;
    source.gives(HALF);
    let mut site = Site::start().await;
    let order = order(&source, &image);
    let id = site.api.create_image(&order).await.unwrap().id;
    site.until("half of it to have arrived", |image| {
        image
            .progress
            .is_some_and(|at| at.step == ImageStep::Fetching && at.bytes == HALF as u64)
    })
    .await;
    site.kill().await;
    source.gives(SIZE);
    site.start_again().await;

    // Whoever sends the order again, for want of an answer, does no harm.
    let again = site.api.create_image(&order).await.unwrap_err();
    assert_eq!(again.status(), Some(409), "{again}");
    let ready = site.imported().await;
    assert_eq!(ready.status, ImageStatus::Ready, "{:?}", ready.message);
    assert_eq!(ready.id, id);
    let requests = source.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    let from = requests[1].expect("a range");
    assert!((1..=HALF).contains(&from), "fetched from {from} on");
    site.kill().await;
    site.holds_only(&ready, &image);
}

#[tokio::test]
async fn what_was_being_stored_is_stored_without_asking_for_it_again() {
    let image = disk();
    let source = WebServer::start(image.clone()).await;
    let mut site = Site::start().await;
    let order = order(&source, &image);
    site.api.create_image(&order).await.unwrap();
    site.wait("the first chunks to be stored", async || {
        (site.chunk_files().len() > 2).then_some(())
    })
    .await;
    site.kill().await;
    let left = site.chunk_files();
    let all = SIZE / (1 << 20);
    assert!(left.len() < all, "killed too late: {} chunks", left.len());
    source.refuses();
    site.start_again().await;
    let ready = site.imported().await;
    assert_eq!(ready.status, ImageStatus::Ready, "{:?}", ready.message);
    assert_eq!(source.requests().len(), 1);
    site.kill().await;
    site.holds_only(&ready, &image);
}

#[tokio::test]
async fn a_source_that_is_gone_is_the_reason_and_leaves_nothing() {
    let image = disk();
    let source = WebServer::start(image.clone()).await;
    source.gives(HALF);
    let mut site = Site::start().await;
    let order = order(&source, &image);
    site.api.create_image(&order).await.unwrap();
    site.until("some of it to have arrived", |image| {
        image.progress.is_some_and(|at| at.bytes > 0)
    })
    .await;
    site.kill().await;
    source.refuses();
    site.start_again().await;
    let failed = site.imported().await;
    assert_eq!(failed.status, ImageStatus::Failed);
    let message = failed.message.unwrap();
    assert!(message.contains("404"), "{message}");
    assert_eq!(site.entries(), [".chunks"]);
    assert_eq!(site.chunk_files(), BTreeSet::new());

    // It is back, and the same order works.
    source.gives(SIZE);
    site.api.delete_image("os").await.unwrap();
    site.api.create_image(&order).await.unwrap();
    let ready = site.imported().await;
    assert_eq!(ready.status, ImageStatus::Ready, "{:?}", ready.message);
    site.api.delete_image("os").await.unwrap();
    assert_eq!(site.entries(), [".chunks"]);
    assert_eq!(site.chunk_files(), BTreeSet::new());
}

/// A disk with a partition table that is full of what cannot be compressed.
fn disk() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = std::fs::File::create(&path).unwrap();
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let noise: Vec<u8> = noise.take(SIZE / 8).flatten().collect();
    file.write_all_at(&noise, 0).unwrap();
    let partitioned = std::process::Command::new("/usr/sbin/sgdisk")
        .args(["--clear", "--new=1:2048:0"])
        .arg(&path)
        .stdout(Stdio::null())
        .status()
        .expect("sgdisk (Debian's gdisk) is needed for this test");
    assert!(partitioned.success());
    std::fs::read(&path).unwrap()
}

fn order(source: &WebServer, image: &[u8]) -> ImageCreate {
    let digest = Sha256::digest(image);
    ImageCreate {
        name: "os".into(),
        source: Some(format!("{}/disk.raw", source.url)),
        sha256: Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()),
        ..ImageCreate::default()
    }
}

/// The real server in a folder of its own.
struct Site {
    folder: TempDir,
    address: SocketAddr,
    api: Client,
    child: Child,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = own_address();
        let config = format!(
            "data = '{}/data'\n[api]\nlisten = '{address}'\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("bessemer.toml"), config).unwrap();
        let mut child = serve(&folder);
        let token = place::printed_token(&mut child).await;
        let api = Client::new(&format!("http://{address}"), Some(&token)).unwrap();
        let site = Self {
            folder,
            address,
            api,
            child,
        };
        site.answers().await;
        site
    }

    async fn answers(&self) {
        let what = format!("the server to answer at {}", self.address);
        self.wait(&what, async || self.api.health().await.ok())
            .await;
    }

    /// SIGKILL; when this returns, nothing of it is left.
    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.child = serve(&self.folder);
        self.answers().await;
    }

    /// Waits until the import has ended.
    async fn imported(&self) -> Image {
        self.until("the import to end", |image| {
            image.status != ImageStatus::Importing
        })
        .await
    }

    async fn until(&self, what: &str, is: impl Fn(&Image) -> bool) -> Image {
        self.wait(what, async || {
            let image = self.api.image("os").await;
            let image = image.unwrap_or_else(|error: Error| panic!("{error}"));
            is(&image).then(|| image.into_value())
        })
        .await
    }

    async fn wait<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, looking).await;
        found.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("data/images")
    }

    /// What lies in the folder of images.
    fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.images()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The files in the chunk store, unfinished ones included.
    fn chunk_files(&self) -> BTreeSet<PathBuf> {
        let Ok(folders) = std::fs::read_dir(self.images().join(".chunks")) else {
            return BTreeSet::new();
        };
        let folders = folders.map(|entry| entry.unwrap().path());
        let folders = folders.filter(|path| path.is_dir());
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
        files.map(|entry| entry.unwrap().path()).collect()
    }

    /// Checks, while no server runs, that there are this image and its chunks, and nothing else.
    fn holds_only(&self, image: &Image, content: &[u8]) {
        let id = image.id.to_string();
        assert_eq!(self.entries(), [".chunks", &id]);
        let store = ImageStore::open(&self.images()).unwrap();
        let collected = store.collect_garbage().unwrap().expect("nobody is at work");
        assert_eq!(collected.chunks, 0, "chunks without an image were left");
        let stored = store.image(&id).unwrap();
        let mut unpacker = Unpacker::new().unwrap();
        let mut disk = vec![0; content.len()];
        for (index, chunk) in stored.map().chunks().iter().enumerate() {
            let packed = stored.read_chunk(index).unwrap();
            assert!(chunk.matches(&packed), "chunk {index} is damaged");
            let start = usize::try_from(chunk.offset).unwrap();
            let place = &mut disk[start..start + chunk.length as usize];
            unpacker.unpack(&packed, place).unwrap();
        }
        assert!(disk == content, "another image came out");
    }
}

/// An address that no other test of this process or of one that runs at the same time has (with
/// luck), so that no outgoing connection takes its port while the server is dead.
fn own_address() -> SocketAddr {
    static SITES: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
    let site = SITES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, high % 100 + 120, low, site), 8480).into()
}

fn serve(folder: &TempDir) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bessemer"))
        .arg("serve")
        .arg("--config")
        .arg(folder.path().join("bessemer.toml"))
        .env_remove("BESSEMER_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A web server with one file, of which it gives as much as it is told to.
struct WebServer {
    url: String,
    /// `None`: there is no such file any more.
    given: watch::Sender<Option<usize>>,
    /// The first byte that each request asked for, if it asked for a range.
    requests: Arc<Mutex<Vec<Option<usize>>>>,
}

impl WebServer {
    async fn start(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let given = watch::Sender::new(Some(content.len()));
        let requests: Arc<Mutex<Vec<_>>> = Arc::default();
        let (seen, told) = (requests.clone(), given.subscribe());
        let content = Arc::new(content);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(socket, content.clone(), told.clone(), seen.clone()));
            }
        });
        Self {
            url,
            given,
            requests,
        }
    }

    /// From now on it gives the bytes before `end`, and then is silent.
    fn gives(&self, end: usize) {
        self.given.send_replace(Some(end));
    }

    fn refuses(&self) {
        self.given.send_replace(None);
    }

    fn requests(&self) -> Vec<Option<usize>> {
        self.requests.lock().unwrap().clone()
    }
}

async fn answer(
    mut socket: TcpStream,
    content: Arc<Vec<u8>>,
    mut given: watch::Receiver<Option<usize>>,
    seen: Arc<Mutex<Vec<Option<usize>>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let range = head
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="));
    let from = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    seen.lock().unwrap().push(from);
    let size = content.len();
    let mut at = from.unwrap_or(0);
    let about = format!(
        "Content-Length: {}\r\nETag: \"one\"\r\nConnection: close\r\n\r\n",
        size - at
    );
    let reply = match (*given.borrow(), from) {
        (None, _) => {
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()
        }
        (_, None) => format!("HTTP/1.1 200 OK\r\n{about}"),
        (_, Some(from)) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\n{about}",
            size - 1
        ),
    };
    if socket.write_all(reply.as_bytes()).await.is_err() {
        return;
    }
    while at < size {
        let more = given.wait_for(|given| given.is_none_or(|end| end > at));
        let Ok(Some(end)) = more.await.map(|given| *given) else {
            return;
        };
        let end = end.min(at + (64 << 10));
        if socket.write_all(&content[at..end]).await.is_err() {
            return;
        }
        at = end;
    }
}
