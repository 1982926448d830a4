//! The lab's management controller, used by other people's tools: sushy, with which OpenStack
//! Ironic manages machines, and the Redfish Service Validator of the DMTF, which reads every
//! resource and holds it against the schemas.

mod image;
mod support;
mod sushy;
mod validator;
