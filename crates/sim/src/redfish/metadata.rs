//! The service metadata document (DSP0266, section 8.4.1): which schemas the resources follow.

use std::fmt::Write as _;

/// Where the schema of our own stands, and the schema.
pub(super) const OWN_SCHEMA: (&str, &str) = (
    "/redfish/v1/Schemas/BessemerComputerSystem_v1.xml",
    include_str!("BessemerComputerSystem_v1.xml"),
);

/// The type that it defines.
pub(super) const OWN_TYPE: &str = "#BessemerComputerSystem.v1_0_0.BessemerComputerSystem";

/// Schemas of the resources served here, with the versions they follow; a collection has none.
/// The types in the resources are these.
const SCHEMAS: [(&str, &str); 22] = [
    ("ServiceRoot", "v1_16_0"),
    ("SessionService", "v1_1_9"),
    ("SessionCollection", ""),
    ("Session", "v1_7_0"),
    ("ComputerSystemCollection", ""),
    ("ComputerSystem", "v1_20_0"),
    ("ChassisCollection", ""),
    ("Chassis", "v1_25_0"),
    ("ManagerCollection", ""),
    ("Manager", "v1_19_0"),
    ("EthernetInterfaceCollection", ""),
    ("EthernetInterface", "v1_12_0"),
    ("StorageCollection", ""),
    ("Storage", "v1_17_0"),
    ("DriveCollection", ""),
    ("Drive", "v1_20_0"),
    ("ProcessorCollection", ""),
    ("Processor", "v1_20_0"),
    ("MemoryCollection", ""),
    ("Memory", "v1_19_0"),
    ("VirtualMediaCollection", ""),
    ("VirtualMedia", "v1_6_3"),
];

/// The document.
pub(super) fn document() -> String {
    let mut document = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    for (name, version) in SCHEMAS {
        // Writing to a string cannot fail.
        let _ = writeln!(
            document,
            "<edmx:Reference Uri=\"http://redfish.dmtf.org/schemas/v1/{name}_v1.xml\">\n\
             <edmx:Include Namespace=\"{name}\"/>"
        );
        if !version.is_empty() {
            let _ = writeln!(document, "<edmx:Include Namespace=\"{name}.{version}\"/>");
        }
        document.push_str("</edmx:Reference>\n");
    }
    let _ = writeln!(
        document,
        "<edmx:Reference Uri=\"{}\">\n\
         <edmx:Include Namespace=\"BessemerComputerSystem\"/>\n\
         <edmx:Include Namespace=\"BessemerComputerSystem.v1_0_0\"/>\n</edmx:Reference>",
        OWN_SCHEMA.0
    );
    document.push_str(
        "<edmx:DataServices>\n\
         <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n\
         <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_16_0.ServiceContainer\"/>\n\
         </Schema>\n</edmx:DataServices>\n</edmx:Edmx>\n",
    );
    document
}
