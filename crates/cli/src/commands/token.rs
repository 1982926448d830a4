//! `bessemer token`: who may do what.

use bessemer_wire::api::{Role, Token, TokenCreate};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::Context;
use crate::output::Format;
use crate::table::table;
use crate::words::{ago, printable};

/// API tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer token create ci --role member --project web
  bessemer token list
  bessemer token revoke ci")]
pub(super) enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token; its secret is shown this once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer token create ci --role member --project web
  bessemer token create alice --role admin
  bessemer token create ci --role member --project web -o json | jq -r .secret")]
pub(super) struct Create {
    /// What it is for; unique.
    name: String,
    /// What it may do.
    #[arg(long)]
    role: RoleName,
    /// The project whose servers it rents; it comes into being with its first token.
    #[arg(long, required_if_eq("role", "member"))]
    project: Option<String>,
}

/// List tokens, without their secrets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer token list")]
pub(super) struct List {}

/// Revoke a token: from now on it opens nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer token revoke ci")]
pub(super) struct Revoke {
    /// Its name or id.
    token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Everything: an operator.
    Admin,
    /// Rent servers in a project.
    Member,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Member => Self::Member,
        }
    }
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(Create {
            name,
            role,
            project,
        }) => {
            let request = TokenCreate {
                name,
                role: role.into(),
                project,
            };
            let created = client.create_token(&request).await?;
            if *format == Format::Table {
                eprintln!("This is the secret of the token; it is not shown again:");
            }
            format.one(&created, |created| printable(&created.secret))?;
        }
        Command::List(List {}) => {
            let list = client.tokens().await?;
            let now = Timestamp::now();
            format.list(&list, |list| tokens(list, now))?;
        }
        Command::Revoke(Revoke { token }) => {
            client.delete_token(&token).await?;
            format.say(format!("token {token} is revoked"))?;
        }
    }
    Ok(())
}

fn tokens(tokens: &[&Token], now: Timestamp) -> String {
    let rows = tokens.iter().map(|token| {
        let role = match token.role {
            Role::Admin => "admin",
            Role::Member => "member",
        };
        [
            token.name.clone(),
            role.to_owned(),
            token.project.to_string(),
            ago(token.created_at, now),
            token.id.to_string(),
        ]
    });
    table(["NAME", "ROLE", "PROJECT", "CREATED", "ID"], rows)
}
