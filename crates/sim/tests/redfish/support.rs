//! One controller with a simulated machine behind it, and a client that logs in by HTTP Basic.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bessemer_sim::machine::SimulatedMachine;
use bessemer_sim::redfish::{Bmc, BmcServer, Credentials, Transport};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(crate) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
pub(crate) const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
pub(crate) const USERNAME: &str = "admin";
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) struct Rig {
    pub(crate) machine: Arc<SimulatedMachine>,
    pub(crate) bmc: Arc<Bmc>,
    pub(crate) server: BmcServer,
    pub(crate) client: Client,
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        username: USERNAME.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

/// A client that needs no TLS; the provider is only there because reqwest asks for one.
pub(crate) fn plain_client() -> Client {
    let trust = bessemer_tls::Trust::InsecureNoVerification;
    let tls = bessemer_tls::client_config(&trust).expect("a TLS configuration");
    Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .expect("a client")
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let machine = Arc::new(SimulatedMachine::numbered(1));
        let bmc = Bmc::new(machine.clone(), credentials());
        let server = BmcServer::start(bmc.clone(), ANY_PORT, Transport::Http);
        let server = server.await.expect("a free port");
        Self {
            machine,
            bmc,
            server,
            client: plain_client(),
        }
    }

    /// A request without credentials.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.server.url()))
    }

    /// A request with the right password.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path)
            .basic_auth(USERNAME, Some(PASSWORD))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self
            .request(Method::GET, path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "GET {path}");
        response.json().await.expect("JSON")
    }

    pub(crate) async fn reset(&self, kind: &str) -> Response {
        let request = self
            .request(Method::POST, RESET)
            .json(&json!({"ResetType": kind}));
        request.send().await.expect("an answer")
    }

    pub(crate) async fn patch(&self, body: &Value) -> Response {
        self.request(Method::PATCH, SYSTEM)
            .json(body)
            .send()
            .await
            .expect("an answer")
    }

    pub(crate) async fn set_override(&self, enabled: &str, target: &str) {
        let response = self
            .patch(&json!({"Boot": {
                "BootSourceOverrideEnabled": enabled,
                "BootSourceOverrideTarget": target,
                "BootSourceOverrideMode": "UEFI",
            }}))
            .await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// Checks status and message of an error answer and that it is a whole Redfish error document.
pub(crate) async fn expect_error(response: Response, status: StatusCode, message: &str) -> Value {
    assert_eq!(response.status(), status);
    let body: Value = response.json().await.expect("a JSON error document");
    let information = &body["error"]["@Message.ExtendedInfo"][0];
    let id = information["MessageId"].as_str().expect("a message id");
    assert!(id.ends_with(message), "{id} is not {message}");
    for field in ["Message", "Resolution", "MessageSeverity"] {
        assert!(information[field].is_string(), "{field} in {body}");
    }
    body
}
