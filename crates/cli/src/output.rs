//! Where answers go: tables for people, the API's own JSON for programs.

use std::fmt::Display;
use std::io::{self, Write};

use bessemer_client::Document;
use bessemer_wire::api::Page;
use clap::ValueEnum;

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    #[default]
    Table,
    /// The API's JSON, unchanged; lists as `{"items":[…]}` with all pages in one.
    Json,
}

impl Format {
    /// Shows one thing: by `table`, or as it came.
    pub(crate) fn one<T>(
        self,
        document: &Document<T>,
        table: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        match self {
            Self::Table => line(table(document)),
            Self::Json => line(document.json()),
        }
    }

    /// Shows a list: by `table`, or as it came, its pages in one.
    pub(crate) fn list<T>(
        self,
        documents: &[Document<T>],
        table: impl FnOnce(&[&T]) -> String,
    ) -> io::Result<()> {
        if self == Self::Table {
            let values: Vec<&T> = documents.iter().map(|document| &**document).collect();
            return line(table(&values));
        }
        let page = Page {
            items: documents.iter().collect(),
            next: None,
        };
        line(serde_json::to_string(&page).map_err(io::Error::other)?)
    }

    /// Says something to people; programs are not told.
    pub(crate) fn say(self, text: impl Display) -> io::Result<()> {
        match self {
            Self::Table => line(text),
            Self::Json => Ok(()),
        }
    }
}

/// One line on standard output. Unlike `println!`, a reader that has gone is an error to report
/// and not a panic.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    output.flush()
}
