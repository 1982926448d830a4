//! From what is recorded of an image to an order that the importer understands.

use bessemer_core::id::ImageId;
use bessemer_image::Error;
use bessemer_image::import::{ChecksumSource, Credentials, Import, Limits, Source, Web, redirects};
use bessemer_store::ImageRecord;
use bessemer_tls::{Trust, client_config};
use bessemer_wire::api::ImageCredentials;
use url::Url;

use crate::config::ProxyUrl;
use crate::keyring::{Keyring, KeyringError, purpose};
use crate::site::Site;

/// User name and password as they are stored.
pub(crate) fn seal(
    keyring: &Keyring,
    image: ImageId,
    credentials: &ImageCredentials,
) -> Result<Vec<u8>, KeyringError> {
    let text = serde_json::json!([credentials.username, credentials.password]).to_string();
    keyring.seal(&purpose::image_credentials(image), text.as_bytes())
}

/// The order to import `image`.
pub(super) fn order(site: &Site, image: &ImageRecord) -> Result<Import, Error> {
    let credentials = open(site, image)?;
    let source = match &image.source {
        _ if image.upload_size.is_some() => Source::Uploaded,
        path if path.starts_with('/') => Source::File(path.into()),
        text => Source::Web(web(site, text, credentials.clone())?),
    };
    let checksum = match (&*image.checksum, &image.checksum_url) {
        ("", Some(text)) => {
            let own = own_credentials(&source, text, credentials);
            ChecksumSource::Listed(web(site, text, own)?)
        }
        ("", None) => match &source {
            Source::File(path) => ChecksumSource::BesideFile(path.clone()),
            Source::Web(web) => ChecksumSource::Beside(web.clone()),
            Source::Uploaded => {
                return Err(Error::NoChecksum("none was given for the upload".into()));
            }
        },
        (checksum, _) => ChecksumSource::Given(checksum.parse()?),
    };
    Ok(Import {
        name: image.id.to_string(),
        source,
        checksum,
        limits: Limits::default(),
    })
}

fn open(site: &Site, image: &ImageRecord) -> Result<Option<Credentials>, Error> {
    let Some(sealed) = &image.credentials_sealed else {
        return Ok(None);
    };
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::Download(
            "its user name and password cannot be read".into(),
            Some(error),
        )
    };
    let text = site
        .keyring
        .open(&purpose::image_credentials(image.id), sealed)
        .map_err(|error| failed(error.into()))?;
    let [username, password]: [String; 2] =
        serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    Ok(Some(Credentials { username, password }))
}

/// The credentials of the source, if this URL is of the same host.
fn own_credentials(
    source: &Source,
    url: &str,
    credentials: Option<Credentials>,
) -> Option<Credentials> {
    let Source::Web(web) = source else {
        return None;
    };
    credentials.filter(|_| Url::parse(url).is_ok_and(|url| url.origin() == web.url.origin()))
}

fn web(site: &Site, url: &str, credentials: Option<Credentials>) -> Result<Web, Error> {
    let wrong = || Error::Download("the source is not a URL".into(), None);
    let url: Url = url.parse().map_err(|_| wrong())?;
    Ok(Web {
        client: client(url.scheme(), site.config.images.proxy.as_ref())?,
        url,
        credentials,
    })
}

/// The client that fetches from a URL of this scheme.
fn client(scheme: &str, proxy: Option<&ProxyUrl>) -> Result<reqwest::Client, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::Download("no HTTP client can be made".into(), Some(error))
    };
    let tls = match (client_config(&Trust::System), scheme) {
        // The bytes are judged by their checksum: authorities matter only where the operator wrote
        // `https`, and a host without any can do without them.
        (Err(_), "http") => client_config(&Trust::InsecureNoVerification),
        (config, _) => config,
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.map_err(|error| failed(error.into()))?)
        .redirect(redirects())
        .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")));
    if let Some(ProxyUrl(url)) = proxy {
        let proxy = reqwest::Proxy::all(url.as_str());
        builder = builder.proxy(proxy.map_err(|error| failed(error.without_url().into()))?);
    }
    builder
        .build()
        .map_err(|error| failed(error.without_url().into()))
}
