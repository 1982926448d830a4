//! The images: importing them in the background, and handing out their maps and chunks.
//!
//! What an image *is* lies in two places: the database says that it exists, the library's folder
//! has its bytes. The folder is written first and read last, so a crash between the two leaves at
//! most bytes that nobody asks for, and an import that was running when the server died goes on
//! with what it had fetched. How far an import is, is known only in memory: it is old news a second
//! later.

mod source;
mod upload;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_core::id::ImageId;
use bessemer_image::Error;
use bessemer_image::import::{self, Progress};
use bessemer_image::map::BlockMap;
use bessemer_image::store::{ImageStore, StoredImage};
use bessemer_store::{ImageRecord, ImportedImage, NewEvent};
use bessemer_wire::api::ImageStatus;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tracing::{Instrument, info, info_span, warn};

use crate::site::Site;

pub(crate) use source::seal;

/// Imports that run at the same time: each keeps a core and the disk busy. The others wait.
const IMPORTS_AT_ONCE: usize = 2;

/// How often the result of an import is offered to a database that does not answer.
const RECORD_TRIES: u32 = 5;

/// The pause between those.
const RECORD_PAUSE: Duration = Duration::from_secs(2);

/// The images. Cheap to clone.
#[derive(Clone)]
pub struct ImageLibrary(Arc<Inner>);

struct Inner {
    folder: ImageStore,
    slots: Semaphore,
    imports: Mutex<HashMap<ImageId, Running>>,
    open: Mutex<HashMap<ImageId, StoredImage>>,
}

struct Running {
    /// `None` while it waits for its turn.
    progress: Option<Progress>,
    task: Option<AbortHandle>,
}

impl ImageLibrary {
    /// Opens the library in `folder`, making it if need be.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner {
            folder: ImageStore::open(folder)?,
            slots: Semaphore::new(IMPORTS_AT_ONCE),
            imports: Mutex::default(),
            open: Mutex::default(),
        })))
    }

    /// Imports `image`, which is in the database as importing, in the background. Its result goes
    /// into the database, with an event.
    pub fn start_import(&self, site: &Site, image: ImageRecord) {
        let id = image.id;
        let running = Running {
            progress: None,
            task: None,
        };
        self.imports().insert(id, running);
        let span = info_span!("import", image = %image.name, %id);
        let (library, site) = (self.clone(), site.clone());
        let task = tokio::spawn(
            async move {
                let result = library.import(&site, &image).await;
                library.record(&site, &image, result).await;
                library.imports().remove(&id);
            }
            .instrument(span),
        );
        // It may be through already, and its entry gone.
        if let Some(running) = self.imports().get_mut(&id) {
            running.task = Some(task.abort_handle());
        }
    }

    /// Goes on with the imports that were running when the server stopped, and clears away what
    /// others have left.
    ///
    /// # Errors
    /// If the database does not tell which those are.
    pub async fn resume_imports(&self, site: &Site) -> Result<(), bessemer_store::Error> {
        let unfinished = site.store.unfinished_images().await?;
        let names: HashSet<String> = unfinished
            .iter()
            .map(|image| image.id.to_string())
            .collect();
        let library = self.clone();
        let swept = blocking(move || library.0.folder.sweep(|name| names.contains(name)));
        if let Err(error) = swept.await {
            // It costs disk space, and nothing else.
            warn!(%error, "what is left of former imports could not be cleared away");
        }
        let importing = |image: &ImageRecord| image.status == ImageStatus::Importing;
        for image in unfinished.into_iter().filter(importing) {
            info!(image = %image.name, "the import goes on");
            self.start_import(site, image);
        }
        Ok(())
    }

    /// How far the import of `image` is, while it is running; `Some(None)` while it waits for its
    /// turn.
    pub fn progress(&self, image: ImageId) -> Option<Option<Progress>> {
        self.imports().get(&image).map(|running| running.progress)
    }

    /// Which parts of `image` hold data.
    ///
    /// # Errors
    /// If it is not in the library, or cannot be read.
    pub async fn map(&self, image: ImageId) -> Result<Arc<BlockMap>, Error> {
        Ok(self.stored(image).await?.map().clone())
    }

    /// Chunk `index` of `image` as it is stored.
    ///
    /// # Errors
    /// If there is no such chunk, or it cannot be read.
    pub async fn chunk(&self, image: ImageId, index: usize) -> Result<Bytes, Error> {
        let stored = self.stored(image).await?;
        blocking(move || stored.read_chunk(index)).await
    }

    /// Removes `image`, stopping its import if that is still running. That it is not there is
    /// fine; whoever reads it at this moment can go on.
    ///
    /// # Errors
    /// If its files cannot be removed.
    pub async fn delete(&self, image: ImageId) -> Result<(), Error> {
        if let Some(task) = self
            .imports()
            .remove(&image)
            .and_then(|running| running.task)
        {
            task.abort();
        }
        self.opened().remove(&image);
        let library = self.clone();
        blocking(move || library.0.folder.remove(&image.to_string())).await
    }

    async fn stored(&self, image: ImageId) -> Result<StoredImage, Error> {
        if let Some(stored) = self.opened().get(&image) {
            return Ok(stored.clone());
        }
        let library = self.clone();
        let stored = blocking(move || library.0.folder.image(&image.to_string())).await?;
        self.opened().insert(image, stored.clone());
        Ok(stored)
    }

    async fn import(&self, site: &Site, image: &ImageRecord) -> Result<StoredImage, Error> {
        // The server may have died between the last byte and the database.
        if let Ok(stored) = self.stored(image.id).await {
            return Ok(stored);
        }
        // The semaphore is never closed, so there is always a permit to come.
        let _slot = self.0.slots.acquire().await;
        let order = source::order(site, image)?;
        let (library, id) = (self.clone(), image.id);
        let report = Arc::new(move |progress| {
            if let Some(running) = library.imports().get_mut(&id) {
                running.progress = Some(progress);
            }
        });
        info!("the import begins");
        import::import(&self.0.folder, &order, report).await
    }

    /// Tells the database, and through it everybody, how the import ended.
    async fn record(&self, site: &Site, image: &ImageRecord, result: Result<StoredImage, Error>) {
        let outcome = match &result {
            Ok(stored) => Ok(ImportedImage {
                virtual_size: stored.map().virtual_size(),
                data_bytes: stored.map().data_bytes(),
                checksum: stored.checksum().to_string(),
                format: stored.format().to_owned(),
            }),
            Err(error) => Err(with_causes(error)),
        };
        let message = match &outcome {
            Ok(_) => format!("image {} is ready", image.name),
            Err(cause) => format!("image {} could not be imported: {cause}", image.name),
        };
        info!("{message}");
        for _ in 0..RECORD_TRIES {
            match site.store.finish_image(image.id, outcome.clone()).await {
                Ok(()) => break,
                Err(bessemer_store::Error::NotFound { .. }) => {
                    // Deleted meanwhile: nobody will ask for the bytes.
                    let _ = self.delete(image.id).await;
                    return;
                }
                Err(error) => warn!(%error, "the result of the import could not be stored"),
            }
            tokio::time::sleep(RECORD_PAUSE).await;
        }
        let event = event(image, outcome.is_ok(), message);
        if let Err(error) = site.store.append_events(&[event], site.now()).await {
            warn!(%error, "nobody could be told how the import ended");
        }
    }

    fn imports(&self) -> MutexGuard<'_, HashMap<ImageId, Running>> {
        // The maps stay whole whatever happens to a holder of the lock.
        self.0
            .imports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<ImageId, StoredImage>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(image: &ImageRecord, ready: bool, message: String) -> NewEvent {
    NewEvent {
        kind: if ready { "image.ready" } else { "image.failed" },
        node: None,
        server: None,
        project: None,
        message,
        data: serde_json::json!({ "image": image.id }),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime ends before it has begun it, and with that whoever waits here.
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
