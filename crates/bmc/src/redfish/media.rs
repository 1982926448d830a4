//! Virtual media: the CD drive that a BMC imitates, and the image in it.
//!
//! DSP0268, VirtualMedia. The drives hang below the computer system (since VirtualMedia 1.4) or
//! below its manager (before, and still with many makers); some can be told by actions and some by
//! changing the resource; each maker takes other members with the action. What can be seen in the
//! resource decides; where that is not enough, what the BMC objects to.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;

use super::RedfishBmc;
use super::goal::Goal;
use super::resource::{Resource, link, text, texts};
use super::system::managers;
use crate::{Effect, Error};

/// Drives of one collection that are looked at.
const MOST_DRIVES: usize = 8;

/// Sets of members tried with one image before a BMC's objections are believed to be about
/// something else.
const MOST_FORMS: usize = 5;

/// What may accompany an image. All have defaults that suit us (DSP0268, `InsertMedia`), but some
/// BMCs want to be told, and others refuse to.
const COMPANIONS: [&str; 4] = [
    "Inserted",
    "WriteProtected",
    "TransferMethod",
    "TransferProtocolType",
];

/// Members sent beside the image.
pub(super) type Companions = BTreeSet<&'static str>;

impl RedfishBmc {
    pub(super) async fn insert(&self, url: &str, deadline: Instant) -> Result<(), Error> {
        let mut drive = self.drive(deadline).await?;
        let content = Content::of(&drive, url);
        if content == Content::Wanted {
            return Ok(());
        }
        if content != Content::Nothing {
            drive = self.bring_about_from(drive, &Empty, deadline).await?;
        }
        let full = self
            .bring_about_from(drive, &Holding(url), deadline)
            .await?;
        *self.filled_drive() = Some(full);
        Ok(())
    }

    /// What was inserted is what is looked for last, so that look serves as the first one here. A
    /// drive that has changed or moved since then refuses, and is looked at anew.
    pub(super) async fn eject(&self, deadline: Instant) -> Result<(), Error> {
        let full = self.filled_drive().take();
        if let Some(drive) = full {
            match self.bring_about_from(drive, &Empty, deadline).await {
                Ok(_) => return Ok(()),
                Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.bring_about(&Empty, deadline).await?;
        Ok(())
    }

    fn filled_drive(&self) -> MutexGuard<'_, Option<Resource>> {
        // Replaced as a whole, so a panic elsewhere cannot have broken it.
        self.filled_drive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a drive for CD images.
    pub(super) async fn has_drive(&self, deadline: Instant) -> Result<bool, Error> {
        match self.drive_path(deadline).await {
            Ok(_) => Ok(true),
            Err(Error::NotOffered { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the drive that images go into.
    async fn drive(&self, deadline: Instant) -> Result<Resource, Error> {
        let path = self.drive_path(deadline).await?;
        match self.client.get(&path, deadline).await {
            // Its firmware may have been renewed since.
            Err(Error::Refused { status: 404, .. }) => {
                self.drive_path.forget();
                let path = self.drive_path(deadline).await?;
                self.client.get(&path, deadline).await
            }
            result => result,
        }
    }

    async fn drive_path(&self, deadline: Instant) -> Result<String, Error> {
        self.drive_path.or_find(self.find_drive(deadline)).await
    }

    /// The first of the best drives, under the system or else under its managers: always the same
    /// one, so that what was inserted is found again.
    async fn find_drive(&self, deadline: Instant) -> Result<String, Error> {
        let system = self.system_lately(deadline).await?;
        let mut found = self.best_drive(&system, deadline).await?;
        for path in managers(&system) {
            if found.is_some() {
                break;
            }
            let manager = self.client.get(path, deadline).await?;
            found = self.best_drive(&manager, deadline).await?;
        }
        found.ok_or_else(|| Error::NotOffered {
            bmc: self.client.bmc().to_owned(),
            wanted: "virtual CD drive".to_owned(),
            offered: Vec::new(),
        })
    }

    /// Path of the best drive in the collection that `owner` links to.
    async fn best_drive(
        &self,
        owner: &Resource,
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        let Some(collection) = owner.value.get("VirtualMedia").and_then(link) else {
            return Ok(None);
        };
        let members = match self.client.members(collection, deadline).await {
            Ok(members) => members,
            // A link that leads nowhere: the feature is not licensed, or belongs elsewhere.
            Err(Error::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut best: Option<(u8, String)> = None;
        for path in members.into_iter().take(MOST_DRIVES) {
            let drive = self.client.get(&path, deadline).await?;
            let Some(rank) = rank(&drive) else { continue };
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, path));
            }
            if rank == 0 {
                break;
            }
        }
        Ok(best.map(|(_, path)| path))
    }

    /// Asks for an image to be inserted, with the members this BMC takes.
    async fn ask_to_insert(
        &self,
        url: &str,
        drive: &Resource,
        deadline: Instant,
    ) -> Result<(), Error> {
        let target = text(&drive.value, "/Actions/#VirtualMedia.InsertMedia/target");
        let mut form = self.companions_for(drive);
        let mut tried = Vec::new();
        loop {
            let body = insertion(url, &form);
            let result = match target {
                Some(target) => self.client.act(target, &body, deadline).await,
                None => self.patch(drive, &body, deadline).await,
            };
            let objection = match result {
                Ok(()) => {
                    self.remember(form);
                    return Ok(());
                }
                Err(error) => error,
            };
            tried.push(form.clone());
            let next = match &objection {
                Error::Refused {
                    status: 400 | 422 | 501,
                    messages,
                    ..
                } => other_form(&form, messages, &tried),
                _ => None,
            };
            match next {
                Some(next) if tried.len() < MOST_FORMS => form = next,
                _ => return Err(objection),
            }
        }
    }

    fn companions_for(&self, drive: &Resource) -> Companions {
        let known = self
            .companions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.clone().unwrap_or_else(|| companions_shown(drive))
    }

    fn remember(&self, companions: Companions) {
        let mut known = self
            .companions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = Some(companions);
    }

    async fn ask_to_eject(&self, drive: &Resource, deadline: Instant) -> Result<(), Error> {
        let target = text(&drive.value, "/Actions/#VirtualMedia.EjectMedia/target");
        if let Some(target) = target {
            return self.client.act(target, &json!({}), deadline).await;
        }
        // Without an action, makers differ in what means *nothing*.
        let forms = [
            json!({"Image": null, "Inserted": false}),
            json!({"Image": null}),
            json!({"Image": ""}),
        ];
        let mut result = Ok(());
        for form in forms {
            result = self.patch(drive, &form, deadline).await;
            if !matches!(result, Err(Error::Refused { status: 400, .. })) {
                break;
            }
        }
        result
    }
}

/// The drive holds the image at this URL.
pub(super) struct Holding<'a>(pub(super) &'a str);

impl Goal for Holding<'_> {
    fn effect(&self) -> Effect {
        Effect::Medium
    }

    fn wanted(&self) -> String {
        format!("virtual media {}", self.0)
    }

    fn shown(&self, seen: &Resource) -> String {
        shown(seen)
    }

    fn is_reached(&self, seen: &Resource) -> bool {
        // It has been empty before, so an image that may be ours is.
        matches!(
            Content::of(seen, self.0),
            Content::Wanted | Content::PerhapsWanted
        )
    }

    async fn look(&self, bmc: &RedfishBmc, deadline: Instant) -> Result<Resource, Error> {
        bmc.drive(deadline).await
    }

    async fn ask(&self, bmc: &RedfishBmc, seen: &Resource, deadline: Instant) -> Result<(), Error> {
        bmc.ask_to_insert(self.0, seen, deadline).await
    }
}

/// The drive holds nothing.
pub(super) struct Empty;

impl Goal for Empty {
    fn effect(&self) -> Effect {
        Effect::Medium
    }

    fn wanted(&self) -> String {
        "empty virtual media".to_owned()
    }

    fn shown(&self, seen: &Resource) -> String {
        shown(seen)
    }

    fn is_reached(&self, seen: &Resource) -> bool {
        !is_inserted(seen)
    }

    async fn look(&self, bmc: &RedfishBmc, deadline: Instant) -> Result<Resource, Error> {
        bmc.drive(deadline).await
    }

    async fn ask(&self, bmc: &RedfishBmc, seen: &Resource, deadline: Instant) -> Result<(), Error> {
        bmc.ask_to_eject(seen, deadline).await
    }
}

/// What a drive holds, seen from the image that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Wanted,
    /// The BMC shows no more than a file name, or nothing at all.
    PerhapsWanted,
    Other,
}

impl Content {
    fn of(drive: &Resource, wanted: &str) -> Self {
        if !is_inserted(drive) {
            return Self::Nothing;
        }
        let image = text(&drive.value, "/Image");
        match image.or_else(|| text(&drive.value, "/ImageName")) {
            None => Self::PerhapsWanted,
            Some(image) if is_same_url(image, wanted) => Self::Wanted,
            Some(image) if image.contains("://") => Self::Other,
            // A name or path without the host.
            Some(name) if wanted.ends_with(name) => Self::PerhapsWanted,
            Some(_) => Self::Other,
        }
    }
}

/// Whether two URLs mean the same place, however they are written.
fn is_same_url(one: &str, other: &str) -> bool {
    one == other
        || matches!((Url::parse(one), Url::parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// `Inserted`; where that is missing, an image that is not called unconnected.
fn is_inserted(drive: &Resource) -> bool {
    let value = &drive.value;
    match value.get("Inserted").and_then(Value::as_bool) {
        Some(inserted) => inserted,
        None => {
            text(value, "/Image").is_some() && text(value, "/ConnectedVia") != Some("NotConnected")
        }
    }
}

/// How well a drive serves, 0 being best: a CD, which every firmware boots, over a DVD over a USB
/// stick. One that does not say is taken for want of others; a floppy holds too little.
pub(super) fn rank(drive: &Resource) -> Option<u8> {
    let kinds = drive.value.get("MediaTypes").map(texts).unwrap_or_default();
    let preferred = ["CD", "DVD", "USBStick"];
    let rank = preferred
        .iter()
        .position(|kind| kinds.iter().any(|shown| shown.eq_ignore_ascii_case(kind)));
    match rank {
        Some(rank) => u8::try_from(rank).ok(),
        None => kinds.is_empty().then_some(u8::MAX),
    }
}

/// The members that the drive itself shows: those that a BMC does not know it does not take.
pub(super) fn companions_shown(drive: &Resource) -> Companions {
    let shown = |name: &&str| drive.value.get(*name).is_some();
    COMPANIONS.into_iter().filter(shown).collect()
}

/// The members to try after an objection: without those it names that were sent, with those it
/// names that were not; none if it names none; and then all.
pub(super) fn other_form(
    form: &Companions,
    messages: &str,
    tried: &[Companions],
) -> Option<Companions> {
    let named: Companions = COMPANIONS
        .into_iter()
        .filter(|name| messages.contains(name))
        .collect();
    let turned: Companions = form.symmetric_difference(&named).copied().collect();
    let candidates = [turned, Companions::new(), Companions::from(COMPANIONS)];
    candidates.into_iter().find(|form| !tried.contains(form))
}

fn insertion(url: &str, companions: &Companions) -> Value {
    let mut body = Map::new();
    body.insert("Image".to_owned(), url.into());
    for name in companions {
        let value = match *name {
            "TransferMethod" => json!("Stream"),
            "TransferProtocolType" if url.starts_with("https:") => json!("HTTPS"),
            "TransferProtocolType" => json!("HTTP"),
            _ => json!(true),
        };
        body.insert((*name).to_owned(), value);
    }
    body.into()
}

fn shown(drive: &Resource) -> String {
    let image = text(&drive.value, "/Image").unwrap_or("(no image)");
    let inserted = if is_inserted(drive) {
        "inserted"
    } else {
        "not inserted"
    };
    format!("{image:.200} {inserted}")
}
