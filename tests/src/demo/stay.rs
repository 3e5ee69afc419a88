//! Staying up: how to try the demo with one's own MCP client.

use anstyle::Style;
use anyhow::Result;
use serde_json::json;
use writ_tests::deployment::Deployment;
use writ_tests::registrations::{BATCH, USER};

const BOLD: Style = Style::new().bold();

/// Prints it and waits for Ctrl-C.
pub async fn until_interrupted(demo: &Deployment) -> Result<()> {
    let (url, issuer) = (demo.url(), demo.service.issuer());
    let snippet = json!({
        "mcpServers": {
            "ledger": {
                "type": "http",
                "url": url,
            },
        },
    });
    anstream::println!(
        "
{BOLD}It stays up: try it with a client of your own{BOLD:#} (Ctrl-C ends it)

  MCP server   {url}
  sign in as   {USER}, with any password, at the identity provider {issuer} leads to

For a client that signs users in; it registers itself:

{snippet:#}

For any other, a token of an agent without a user (reconcile and getAccount, 10 minutes), as its bearer token:

  curl -s -u {BATCH}:{secret} -d grant_type=client_credentials -d resource={url} {issuer}/oauth/token

What it does is on record:

  {writ} --data-dir {data} audit tail
",
        secret = demo.registered.batch_secret,
        writ = demo.service.binary().display(),
        data = demo.service.data_dir().display(),
    );
    tokio::signal::ctrl_c().await?;
    anstream::println!("\nstopped");
    Ok(())
}
