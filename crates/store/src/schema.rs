//! The schema: numbered texts for both databases, in the order in which they are applied.
//!
//! They are listed here, and not found by a macro of sqlx: for that, the compiler itself would need sqlx, tokio and
//! SQLite, all compiled a second time.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

macro_rules! texts {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../migrations/", $name, ".sql")))),*]
    };
}

/// Name and text of each. What is for SQLite alone stands in a comment, which [`for_sqlite`] opens.
const TEXTS: &[(&str, &str)] = texts![
    "0001_first"
    "0002_image_sources"
    "0003_boot_methods"
    "0004_standby"
    "0005_lifecycle_verbs"
    "0006_ipmi_key"
    "0007_root_disk_hints"
    "0008_network_configuration"
    "0010_networks"
    "0011_places"
    "0012_port_drift"
    "0013_port_groups"
    "0014_overlay"
    "0015_wirings"
    "0016_audit"
    "0017_power"
    "0018_sightings"
    "0021_leases"
    "0022_speed"
    "0023_claims_and_orders"
    "0024_inventories"
    "0025_fewer_indexes"
    "0026_conductor_urls"
];

/// The schema of PostgreSQL.
pub(crate) fn for_postgres() -> Migrator {
    migrator(TEXTS.iter().map(migration))
}

/// The same with what is between `/*sqlite` and `sqlite*/`. What a database remembers of each text is of what the
/// two have in common.
pub(crate) fn for_sqlite() -> Migrator {
    migrator(TEXTS.iter().map(|text| {
        let opened = text.1.replace("/*sqlite", "").replace("sqlite*/", "");
        Migration {
            // Text of this program's own.
            sql: AssertSqlSafe(opened).into_sql_str(),
            ..migration(text)
        }
    }))
}

fn migration((name, text): &(&'static str, &'static str)) -> Migration {
    let (number, description) = name.split_once('_').expect("names are NUMBER_DESCRIPTION");
    Migration::new(
        number.parse().expect("names begin with a number"),
        Cow::Owned(description.replace('_', " ")),
        MigrationType::Simple,
        text.into_sql_str(),
        false,
    )
}

fn migrator(migrations: impl Iterator<Item = Migration>) -> Migrator {
    Migrator {
        migrations: migrations.collect(),
        ..Migrator::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_listed_in_its_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let files = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<_> = TEXTS
            .iter()
            .map(|(name, _)| format!("{name}.sql"))
            .collect();
        assert_eq!(listed, files);
    }
}
