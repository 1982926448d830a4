//! Redfish's error document (DSP0266, section "Error responses"; messages of the Base registry,
//! DSP8011).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::machine::MachineError;

/// An error answer.
#[derive(Debug)]
pub(super) struct RedfishError {
    status: StatusCode,
    message_id: &'static str,
    message: String,
    resolution: &'static str,
    property: Option<String>,
}

impl RedfishError {
    fn new(
        status: StatusCode,
        message_id: &'static str,
        message: impl Into<String>,
        resolution: &'static str,
    ) -> Self {
        Self {
            status,
            message_id,
            message: message.into(),
            resolution,
            property: None,
        }
    }

    fn about(mut self, pointer: impl Into<String>) -> Self {
        self.property = Some(pointer.into());
        self
    }

    pub(super) fn not_found(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "Base.1.18.ResourceMissingAtURI",
            format!("The resource at the URI '{path}' was not found."),
            "Place a valid resource at the URI or correct the URI and resubmit the request.",
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Base.1.18.OperationNotAllowed",
            "The HTTP method is not allowed on this resource.",
            "None.",
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Base.1.18.NoValidSession",
            "There is no valid session established with the implementation.",
            "Establish a session before attempting any operations, or provide correct credentials.",
        )
    }

    pub(super) fn insufficient_privilege() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Base.1.18.InsufficientPrivilege",
            "There are insufficient privileges for the account or credentials associated with the \
             current session to perform the requested operation.",
            "Either abandon the operation or change the associated access rights and resubmit the \
             request if the operation failed.",
        )
    }

    pub(super) fn bad_credentials() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Base.1.18.ResourceAtUriUnauthorized",
            "While accessing the resource, the service received an authorization error: invalid \
             user name or password.",
            "Ensure that the appropriate access is provided for the service in order for it to \
             access the URI.",
        )
    }

    pub(super) fn too_many_sessions() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Base.1.18.SessionLimitExceeded",
            "The session establishment failed due to the number of simultaneous sessions exceeding \
             the limit of the implementation.",
            "Reduce the number of other sessions before trying to establish the session.",
        )
    }

    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Base.1.18.ServiceTemporarilyUnavailable",
            "The service is temporarily unavailable. Retry in 1 seconds.",
            "Wait for the indicated retry duration and retry the operation.",
        )
    }

    pub(super) fn malformed_json() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.MalformedJSON",
            "The request body submitted was malformed JSON and could not be parsed by the \
             receiving service.",
            "Ensure that the request body is valid JSON and resubmit the request.",
        )
    }

    pub(super) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Base.1.18.UnrecognizedRequestBody",
            "The service detected a malformed request body that it was unable to interpret.",
            "Send the request body as application/json.",
        )
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Base.1.18.PayloadTooLarge",
            "The supplied payload exceeds the supported payload size of the service.",
            "Reduce the payload size and resubmit the request.",
        )
    }

    pub(super) fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "Base.1.18.PreconditionFailed",
            "The ETag supplied did not match the ETag required to change this resource.",
            "Try the operation again using the appropriate ETag.",
        )
    }

    pub(super) fn property_unknown(pointer: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.PropertyUnknown",
            format!(
                "The property {pointer} is not in the list of valid properties for the resource."
            ),
            "Remove the unknown property from the request body and resubmit the request.",
        )
        .about(pointer)
    }

    pub(super) fn property_not_writable(pointer: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.PropertyNotWritable",
            format!(
                "The property {pointer} is a read-only property and cannot be assigned a value."
            ),
            "Remove the property from the request body and resubmit the request.",
        )
        .about(pointer)
    }

    pub(super) fn property_missing(pointer: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.PropertyMissing",
            format!("The property {pointer} is a required property and must be included."),
            "Ensure that the property is in the request body and has a valid value.",
        )
        .about(pointer)
    }

    pub(super) fn value_not_in_list(pointer: &str, value: &serde_json::Value) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.PropertyValueNotInList",
            format!("The value {value} for the property {pointer} is not in the list of acceptable values."),
            "Choose a value from the enumeration list that the implementation can support.",
        )
        .about(pointer)
    }

    pub(super) fn parameter_unknown(action: &str, name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.ActionParameterUnknown",
            format!("The action {action} was submitted with the invalid parameter {name}."),
            "Correct the invalid parameter and resubmit the request.",
        )
    }

    pub(super) fn parameter_missing(action: &str, name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.ActionParameterMissing",
            format!("The action {action} requires that the parameter {name} be present."),
            "Supply the action with the required parameter in the request body.",
        )
    }

    pub(super) fn parameter_value(action: &str, name: &str, value: &serde_json::Value) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Base.1.18.ActionParameterValueNotInList",
            format!(
                "The value {value} for the parameter {name} in the action {action} is not in the \
                 list of acceptable values."
            ),
            "Choose a value that the implementation can support and resubmit the request.",
        )
    }

    pub(super) fn resource_in_use() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Base.1.18.ResourceInUse",
            "The change to the requested resource failed because the resource is in use or in \
             transition.",
            "Remove the condition and resubmit the request.",
        )
    }

    pub(super) fn cannot_fetch(url: &str, detail: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Base.1.18.CouldNotEstablishConnection",
            format!("The service failed to establish a connection with the URI '{url}': {detail}."),
            "Ensure that the URI contains a valid and reachable node name, protocol information \
             and other URI components.",
        )
    }

    /// What a machine's refusal means to a client.
    pub(super) fn machine(error: &MachineError) -> Self {
        match error {
            MachineError::WrongState(_) => Self::new(
                StatusCode::CONFLICT,
                "Bessemer.1.0.InvalidOperationForSystemState",
                format!("The operation was not successful: {error}."),
                "Ensure that the system power is in the correct state.",
            ),
            MachineError::UnsupportedTarget(target) => {
                Self::value_not_in_list("#/Boot/BootSourceOverrideTarget", &json!(target))
            }
            MachineError::Failed { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Base.1.18.InternalError",
                format!("The request failed due to an internal service error: {error}."),
                "Resubmit the request. If the problem persists, consider resetting the service.",
            ),
        }
    }
}

impl IntoResponse for RedfishError {
    fn into_response(self) -> Response {
        let related: Vec<_> = self.property.into_iter().collect();
        let body = json!({
            "error": {
                "code": self.message_id,
                "message": self.message,
                "@Message.ExtendedInfo": [{
                    "@odata.type": "#Message.v1_1_2.Message",
                    "MessageId": self.message_id,
                    "Message": self.message,
                    "MessageArgs": [],
                    "MessageSeverity": "Critical",
                    "RelatedProperties": related,
                    "Resolution": self.resolution,
                }],
            }
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Basic realm=\"Redfish\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
