//! The commands: one file for each noun, with its arguments beside what they do.

mod address;
mod audit;
mod completions;
mod config;
mod event;
mod explanation;
mod flavor;
mod image;
mod kexec;
mod key;
mod manual;
mod network;
mod node;
mod rack;
mod sealing_key;
mod serve;
mod server;
mod site;
mod subnet;
mod switch;
mod token;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail};
use bessemer_client::Client;
use clap::{Parser, Subcommand};

use crate::connection::Connection;
use crate::output::Format;

/// The bare-metal cloud: from a racked machine to an SSH login in minutes.
#[derive(Debug, Parser)]
#[command(
    name = "bessemer",
    version,
    max_term_width = 100,
    after_help = "Examples:
  bessemer serve                             start a server on this machine
  bessemer node list                         what there is
  bessemer server create web-1 --flavor small --image debian-12 \\
      --network tenant --key laptop --wait   an order, followed until the login
  bessemer events --follow                   what happens now

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted while waiting for
something that goes on by itself."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: Connection,

    /// How answers are shown.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Connection"
    )]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    #[command(subcommand)]
    Node(Box<node::Command>),
    #[command(subcommand)]
    Switch(switch::Command),
    #[command(subcommand)]
    Rack(rack::Command),
    #[command(subcommand)]
    Site(site::Command),
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Flavor(flavor::Command),
    #[command(subcommand)]
    Network(network::Command),
    #[command(subcommand)]
    Subnet(subnet::Command),
    #[command(subcommand)]
    Address(address::Command),
    #[command(subcommand)]
    Key(key::Command),
    #[command(subcommand)]
    Server(server::Command),
    Events(event::Arguments),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Kexec(kexec::Command),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Config(config::Command),
    #[command(subcommand)]
    SealingKey(sealing_key::Command),
    Completions(completions::Arguments),
    #[command(hide = true)]
    Man(manual::Arguments),
}

/// What sites, racks and switches are sorted by.
const PLACE_SORTS: [&str; 4] = ["name", "-name", "created_at", "-created_at"];

/// What the commands that talk to the API work with.
struct Context {
    client: Client,
    format: Format,
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Config(command) => config::run(command),
        Command::SealingKey(command) => sealing_key::run(command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => manual::run(&arguments),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("the runtime does not start")?;
            let context = Context {
                client: cli.connection.client()?,
                format: cli.output,
            };
            runtime.block_on(ask(command, &context))
        }
    }
}

async fn ask(command: Command, context: &Context) -> anyhow::Result<()> {
    match command {
        Command::Node(command) => node::run(*command, context).await,
        Command::Switch(command) => switch::run(command, context).await,
        Command::Rack(command) => rack::run(command, context).await,
        Command::Site(command) => site::run(command, context).await,
        Command::Image(command) => image::run(command, context).await,
        Command::Flavor(command) => flavor::run(command, context).await,
        Command::Network(command) => network::run(command, context).await,
        Command::Subnet(command) => subnet::run(command, context).await,
        Command::Address(command) => address::run(command, context).await,
        Command::Key(command) => key::run(command, context).await,
        Command::Server(command) => server::run(command, context).await,
        Command::Events(arguments) => event::run(arguments, context).await,
        Command::Audit(command) => audit::run(command, context).await,
        Command::Kexec(command) => kexec::run(command, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::Serve(_)
        | Command::Config(_)
        | Command::SealingKey(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }
}

/// Reads a text file of at most `most_bytes`.
fn read_text(path: &Path, most_bytes: u64) -> anyhow::Result<String> {
    let shown = path.display();
    let wrong = || format!("cannot read `{shown}`");
    let file = File::open(path).with_context(wrong)?;
    let mut text = String::new();
    file.take(most_bytes + 1)
        .read_to_string(&mut text)
        .with_context(wrong)?;
    if text.len() as u64 > most_bytes {
        bail!("`{shown}` has more than {most_bytes} bytes: is it the right file?");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn check(command: &clap::Command, path: &str) {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(help.contains("Examples:"), "`{path}` has no examples");
            assert!(command.get_about().is_some(), "`{path}` has no description");
            for each in command.get_subcommands() {
                check(each, &format!("{path} {}", each.get_name()));
            }
        }
        check(&Cli::command(), "bessemer");
    }

    /// The arguments of a command line, some of them in single quotes.
    fn arguments(command: &str) -> Vec<String> {
        let mut all = Vec::new();
        for (index, part) in command.split('\'').enumerate() {
            if index % 2 == 1 {
                all.push(part.to_owned());
            } else {
                all.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        all
    }

    /// Examples are what people type first: each must at least be understood.
    #[test]
    fn every_example_is_understood() {
        fn examples(command: &clap::Command, all: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            // A backslash at the end of a line joins the next one to it.
            let parts: Vec<_> = help.split("\\\n").map(str::trim_start).collect();
            let lines = parts.concat();
            let lines = lines.lines().map(str::trim);
            all.extend(
                lines
                    .filter(|line| line.starts_with("bessemer "))
                    .map(Into::into),
            );
            command
                .get_subcommands()
                .for_each(|each| examples(each, all));
        }
        let mut all = Vec::new();
        examples(&Cli::command(), &mut all);
        assert!(all.len() > 30);
        for example in all {
            // Three blanks begin a remark, and what follows these signs is the shell's business.
            let command = example.split("   ").next().unwrap_or(&example);
            let command = command.split(['>', '|']).next().unwrap_or(command);
            if let Err(error) = Cli::try_parse_from(arguments(command)) {
                panic!("`{example}`: {error}");
            }
        }
    }
}
