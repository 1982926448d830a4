//! What a plan can be checked against where the switches are not ours: what the switch says about
//! itself (LLDP, IEEE 802.1AB), and what an operator has declared of the port.

use super::{PlanError, PortPlan};
use crate::hardware::LldpNeighbor;

/// What is known of a switch port that is not ours to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredPort {
    /// Its name, as it was declared.
    pub port: String,
    /// The physical network that it is part of, as it was declared.
    pub segment: Option<String>,
    /// What was heard at the other end of the cable.
    pub neighbor: Option<LldpNeighbor>,
}

/// Checks `plan` against what is known of its ports on the switch called `switch`. What is not known
/// does not contradict, and nothing does where nothing is to be carried.
///
/// # Errors
/// [`PlanError::Contradicted`] when a cable leads elsewhere than was declared, or a network is not
/// part of the physical network that the port is in.
pub fn check_flat(
    switch: &str,
    plan: &PortPlan,
    declared: &[DeclaredPort],
) -> Result<(), PlanError> {
    let declared = declared.iter().filter(|_| !plan.is_parked());
    for known in declared.filter(|known| plan.ports().contains(&known.port)) {
        let contradicted = |problem: String| PlanError::Contradicted {
            switch: switch.to_owned(),
            port: known.port.clone(),
            problem,
        };
        if let Some(neighbor) = &known.neighbor {
            check_cable(switch, &known.port, neighbor).map_err(contradicted)?;
        }
        let Some(segment) = &known.segment else {
            continue;
        };
        if let Some(other) = plan.segments().iter().find(|each| *each != segment) {
            return Err(contradicted(format!(
                "a network of physical network `{other}` is to be reached there, but the port is \
                 declared to be part of `{segment}`. Correct the declaration, or the cable"
            )));
        }
    }
    Ok(())
}

/// Compares names only with names: a chassis or port that calls itself by its MAC address tells
/// nothing about a name.
fn check_cable(switch: &str, port: &str, neighbor: &LldpNeighbor) -> Result<(), String> {
    if let Some(heard) = &neighbor.system_name
        && !same_host(heard, switch)
    {
        return Err(format!(
            "the cable was declared to lead here, but LLDP says that it leads to switch `{heard}`. \
             Correct the declaration, or the cable"
        ));
    }
    let heard = &neighbor.port;
    if !is_address(heard) && !heard.eq_ignore_ascii_case(port) {
        return Err(format!(
            "the cable was declared to lead here, but LLDP says that it leads to port `{heard}`. \
             Correct the declaration, or the cable"
        ));
    }
    Ok(())
}

/// Whether two host names are the same, one of them perhaps with its domain.
fn same_host(one: &str, other: &str) -> bool {
    let host = |name: &str| name.split('.').next().map(str::to_ascii_lowercase);
    one.eq_ignore_ascii_case(other)
        || (one.contains('.') != other.contains('.') && host(one) == host(other))
}

fn is_address(text: &str) -> bool {
    text.split([':', '-'])
        .map(|part| part.len() == 2 && part.chars().all(|digit| digit.is_ascii_hexdigit()))
        .fold((0, true), |(count, all), each| (count + 1, all && each))
        == (6, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port_plan::PortMode;

    fn plan(segments: &[&str]) -> PortPlan {
        let segments = segments.iter().map(|segment| (*segment).to_owned());
        PortPlan::port("swp7", PortMode::Access { vlan: 7 }, "")
            .unwrap()
            .with_segments(segments.collect())
    }

    fn heard(system_name: Option<&str>, port: &str) -> DeclaredPort {
        DeclaredPort {
            port: "swp7".to_owned(),
            segment: None,
            neighbor: Some(LldpNeighbor {
                chassis: "52:54:00:00:00:01".to_owned(),
                port: port.to_owned(),
                system_name: system_name.map(str::to_owned),
            }),
        }
    }

    #[test]
    fn a_cable_must_lead_where_it_was_declared_to() {
        for known in [
            heard(Some("leaf1"), "swp7"),
            heard(Some("LEAF1.example.net"), "SWP7"),
            heard(None, "swp7"),
            heard(None, "52:54:00:00:00:07"),
            DeclaredPort::default(),
        ] {
            check_flat("leaf1", &plan(&[]), &[known]).unwrap();
        }
        for (known, part) in [
            (heard(Some("leaf2"), "swp7"), "switch `leaf2`"),
            (heard(Some("leaf1.other.org"), "swp8"), "port `swp8`"),
        ] {
            let error = check_flat("leaf1", &plan(&[]), &[known]).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let parked = PortPlan::port("swp7", PortMode::Parked { vlan: 9 }, "").unwrap();
        check_flat("leaf1", &parked, &[heard(Some("leaf2"), "swp7")]).unwrap();
        let elsewhere = heard(Some("leaf1.other.org"), "swp7");
        check_flat("leaf1.example.net", &plan(&[]), &[elsewhere]).unwrap_err();
    }

    #[test]
    fn a_network_must_be_part_of_the_physical_one_that_a_port_is_in() {
        let declared = |segment: Option<&str>| DeclaredPort {
            port: "swp7".to_owned(),
            segment: segment.map(str::to_owned),
            neighbor: None,
        };
        for (segments, segment) in [
            (&["public"][..], Some("public")),
            (&[], Some("public")),
            (&["public", "storage"], None),
        ] {
            check_flat("leaf1", &plan(segments), &[declared(segment)]).unwrap();
        }
        let known = declared(Some("public"));
        let error = check_flat("leaf1", &plan(&["public", "storage"]), &[known]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`storage`") && text.contains("`public`") && text.contains("swp7"),
            "{text}"
        );
    }
}
