//! Whole migrations between servers, run by the library.

use crate::support::haul::{Haul, Side};
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Config, Server};

async fn in_process(config: Config) -> (Server, Side) {
    let server = Server::start(config).await.unwrap();
    let side = Side::plain(server.port());
    (server, side)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_mailbox_arrives_whole() {
    let (source, source_side) = in_process(Config::plain("u")).await;
    let (target, target_side) = in_process(Config::plain("u")).await;
    source.account("u").fill(&generate::mailbox(1, 500, &GenerateOptions::default())).unwrap();
    let haul = Haul::new(source_side, target_side).user("u", "u");
    let ran = haul.run().await;
    ran.assert_complete();
    assert_eq!(source.account("u").count(), target.account("u").count());
    let again = haul.run().await;
    again.assert_complete();
    assert_eq!(again.copied(), 0);
}
