//! Uploading and looking at definitions.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Ask, Client, segment};
use super::fault::Fault;
use super::start::{read_json, read_text};
use super::{Output, print};

/// What is done with definitions.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Checks a definition and keeps it; the same version with the same content is fine.
    Upload(Upload),
    /// Lists all versions, newest first.
    List(List),
    /// Shows one version as it was uploaded.
    Show(Show),
}

/// What is uploaded.
#[derive(Debug, Args)]
pub(super) struct Upload {
    /// The definition, YAML or JSON; `-` reads stdin.
    file: PathBuf,
    /// A JSON Schema that it names, by the file's name; may be given again.
    #[arg(long, value_name = "FILE")]
    schema: Vec<PathBuf>,
}

/// Which definitions.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of this name.
    #[arg(long)]
    name: Option<String>,
}

/// Which definition.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its name.
    name: String,
    /// Its version; the newest where it is left out.
    version: Option<u32>,
}

pub(super) async fn run(client: &Client, command: Command, output: Output) -> Result<ExitCode, Fault> {
    match command {
        Command::Upload(command) => upload(client, &command, output).await?,
        Command::List(command) => list(client, &command, output).await?,
        Command::Show(command) => show(client, &command, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn upload(client: &Client, upload: &Upload, output: Output) -> Result<(), Fault> {
    let definition = read_text("FILE", &upload.file)?;
    let mut schemas = Map::new();
    for file in &upload.schema {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Fault::Usage(format!("--schema {} has no name", file.display())))?;
        schemas.insert(name.to_owned(), read_json("--schema", file)?);
    }
    let body = json!({ "definition": definition, "schemas": schemas });
    let uploaded = client.json(Ask::post("/v1/definitions", body)).await?;
    let (name, version) = (print::text(&uploaded, "name"), print::text(&uploaded, "version"));
    match output {
        Output::Json => print::say(&uploaded.to_string()),
        Output::Id => print::say(&format!("{name}/{version}")),
        Output::Table => {
            let added = if uploaded["added"] == json!(true) { "added" } else { "stands already, the same" };
            print::say(&format!("{name} version {version}: {added}"));
        }
    }
    for note in uploaded["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        print::talk(&format!("note: {note}"));
    }
    Ok(())
}

async fn listed(client: &Client, name: Option<&str>) -> Result<Value, Fault> {
    let path = name.map_or("/v1/definitions".to_owned(), |name| format!("/v1/definitions?name={}", segment(name)));
    client.json(Ask::get(&path)).await
}

async fn list(client: &Client, list: &List, output: Output) -> Result<(), Fault> {
    let page = listed(client, list.name.as_deref()).await?;
    let all = page["definitions"].as_array().map_or(&[][..], Vec::as_slice);
    match output {
        Output::Json => print::say(&page.to_string()),
        Output::Id => {
            for found in all {
                print::say(&format!("{}/{}", print::text(found, "name"), print::text(found, "version")));
            }
        }
        Output::Table => {
            let mut table = print::table(&["name", "version", "hash", "uploaded", "by"]);
            for found in all {
                let member = |name| print::text(found, name);
                let hash = member("hash").chars().take(12).collect();
                let at = print::moment(found, "uploaded_at");
                table.add_row([member("name"), member("version"), hash, at, member("uploaded_by")]);
            }
            print::show(&table);
        }
    }
    Ok(())
}

async fn show(client: &Client, show: &Show, output: Output) -> Result<(), Fault> {
    let version = match show.version {
        Some(version) => u64::from(version),
        None => newest(client, &show.name).await?,
    };
    let found = client.json(Ask::get(&format!("/v1/definitions/{}/{version}", segment(&show.name)))).await?;
    match output {
        Output::Json => print::say(&found.to_string()),
        Output::Id => print::say(&format!("{}/{version}", show.name)),
        // As it was written: to a file it makes the same definition again.
        Output::Table => print::say(found["definition"].as_str().unwrap_or_default().trim_end()),
    }
    Ok(())
}

/// The greatest version, which is the one that a start takes.
async fn newest(client: &Client, name: &str) -> Result<u64, Fault> {
    let page = listed(client, Some(name)).await?;
    let versions = page["definitions"].as_array().into_iter().flatten().filter_map(|found| found["version"].as_u64());
    versions
        .max()
        .ok_or_else(|| Fault::Refused(format!("there is no definition {name:?}: `steadfast definition list`")))
}
