//! What is wrong is said in one line, with the way out, before anything starts.

use steadfast_testkit::TestPostgres;

use super::world::{World, free_port};

/// As if a later program had been here.
async fn migrated_by_a_later(db: &TestPostgres, line: &str) {
    let row = "insert into steadfast_migration (line, version, name, checksum) values ($1, 99, 'later', 'x')";
    sqlx::query(row).bind(line).execute(db.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_told_nonsense_says_what_and_where() {
    let world = World::new().await;
    let (config, _) = world.relay_config("", "").await;
    let good = std::fs::read_to_string(&config).unwrap();
    let url = world.write.url();
    for (from, to, parts) in [
        ("max_attempts", "max_atempts", vec!["max_atempts", "line 2", "did you mean max_attempts?"]),
        ("brokers = [", "brokers = [\"kafka\", ", vec!["kafka.brokers", "\"kafka\"", "host:port"]),
        ("delivery = \"20s\"", "delivery = \"soon\"", vec!["kafka.delivery", "\"soon\"", "30s"]),
        ("delivery = \"20s\"", "settings = { acks = \"1\" }", vec!["acks", "take it out"]),
        ("delivery = \"20s\"", "settings = { sasl_pasword = \"x\" }", vec!["sasl.pasword", "librdkafka"]),
        ("delivery = \"20s\"", "secrets = { sasl_password = \"x\" }", vec!["kafka.secrets.sasl_password", "file ="]),
        (url.as_str(), "postgres://u:hush@127.0.0.1/x", vec!["databases.shop.url", "holds a password"]),
        (url.as_str(), "mysql://127.0.0.1/x", vec!["databases.shop.url", "postgres://"]),
        ("[databases.shop]", "[databases.'a b']", vec!["databases.a b", "letters"]),
        ("time = \"2s\"", "time = \"1s\"", vec!["lease.time", "2s"]),
        ("partitions = 3", "partitions = 0", vec!["topics.partitions", "1 at least"]),
        ("[lease]", "[archive]\nfolder = \"nowhere\"\n[lease]", vec!["archive.folder", "nowhere", "make it"]),
    ] {
        assert!(good.contains(from), "{from}");
        let path = world.file("wrong.toml", &good.replace(from, to));
        for check in [&["--check"][..], &[]] {
            let ran = world.run(&[&["outbox", "relay", "--config", &path], check].concat(), &[]).await;
            ran.assert_one_line(1, &parts);
            assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
        }
    }
    let ran = world.run(&["outbox", "relay", "--config", "none.toml"], &[]).await;
    ran.assert_one_line(1, &["none.toml", "--config"]);
    let ran = world.run(&["outbox", "relay"], &[]).await;
    ran.assert_one_line(1, &["databases is required"]);
    let path = config.display().to_string();
    let ran = world.run(&["outbox", "relay", "--check", "--config", &path], &[]).await;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "the configuration is in order"));
    // A database without the tables.
    let text = good.replace(&url, &world.read.url());
    let ran = world.run(&["outbox", "relay", "--config", &world.file("bare.toml", &text)], &[]).await;
    ran.assert_one_line(1, &["database shop", "steadfast migrate outbox"]);
    // Tables that a later program has migrated.
    migrated_by_a_later(&world.write, "outbox").await;
    let ran = world.run(&["outbox", "relay", "--config", &path], &[]).await;
    ran.assert_one_line(1, &["database shop", "newer version (outbox 99, this program knows", "use that version"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_that_is_told_nonsense_says_what_and_where() {
    let world = World::new().await;
    world.make_view().await;
    let (config, _) = world.projector_config("").await;
    let good = std::fs::read_to_string(&config).unwrap();
    for (from, to, parts) in [
        ("[\"*.yaml\"]", "[\"*.yml\"]", vec!["projections[0]", "*.yml", "no such file"]),
        ("[\"*.yaml\"]", "[]", vec!["projections is empty"]),
        ("[database]", "sqlite = \"x\"\n[database]", vec!["both `database` and `sqlite`", "take one out"]),
        ("group =", "topics = [\"order created\"]\ngroup =", vec!["topics", "order created"]),
        ("group =", "batch = 0\ngroup =", vec!["batch is 0", "1 at least"]),
        ("group =", "start = \"begining\"\ngroup =", vec!["start", "beginning"]),
        ("group =", "topics = [\"other.*\"]\ngroup =", vec!["orders.yaml", ".changed.v1", "add its topic"]),
    ] {
        assert!(good.contains(from), "{from}");
        let path = world.file("wrong.toml", &good.replace(from, to));
        world.run(&["projector", "--config", &path], &[]).await.assert_one_line(1, &parts);
    }
    let path = config.display().to_string();
    let ran = world.run(&["projector", "check", "--config", &path], &[]).await;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "1 projections are in order"), "{ran:#?}");

    // Every fault of every file, on a line of its own where they are asked for, on one line where it would start.
    world.file("bad.yaml", "projection: bad\naggregates: [order]\non:\n  order.created.v1:\n    sql: insert into lost values (1)\n  order.paid.v1:\n    sql: drop table order_view\n");
    world.file("twin.yaml", &std::fs::read_to_string(world.folder.path().join("orders.yaml")).unwrap());
    let ran = world.run(&["projector", "check", "--config", &path], &[]).await;
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 3), "{}", ran.stderr);
    for part in [
        "bad.yaml: line 5: on.order.created.v1.sql: relation \"lost\" does not exist",
        "bad.yaml: line 7",
        "twin.yaml: projection: orders is also the name of",
    ] {
        assert!(ran.stderr.contains(part), "{part:?} in {}", ran.stderr);
    }
    world.run(&["projector", "--config", &path], &[]).await.assert_one_line(1, &["line 5", "line 7", "twin.yaml"]);

    std::fs::remove_file(world.folder.path().join("bad.yaml")).unwrap();
    std::fs::remove_file(world.folder.path().join("twin.yaml")).unwrap();
    steadfast_db::migrate(&*world.read, &steadfast_projection::LINE).await.unwrap();
    migrated_by_a_later(&world.read, "projection").await;
    let ran = world.run(&["projector", "--config", &path], &[]).await;
    ran.assert_one_line(1, &["the read database", "newer version (projection 99, this program knows"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_say_which_database_is_missing_or_away() {
    let world = World::new().await;
    let (at, away) = (world.read.url(), format!("postgres://u:hush@127.0.0.1:{}/x", free_port().await));
    let (here, nowhere) = ([("STEADFAST_DATABASE_URL", at.as_str())], [("STEADFAST_DATABASE_URL", away.as_str())]);
    world.run(&["outbox", "status"], &[]).await.assert_one_line(2, &["--config", "--database-url"]);
    world.run(&["projection", "skipped"], &[]).await.assert_one_line(2, &["--config", "--sqlite"]);
    world.run(&["outbox", "status"], &here).await.assert_one_line(1, &["does not exist"]);
    world
        .run(&["projection", "parked", "list", "--projection", "x"], &here)
        .await
        .assert_one_line(1, &["\"x\"", "none"]);
    for command in [&["outbox", "status"][..], &["outbox", "verify"], &["projection", "parked", "list"]] {
        let ran = world.run(command, &nowhere).await;
        ran.assert_one_line(3, &[]);
        assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
    }
    let (config, _) = world.relay_config("", "").await;
    let path = config.display().to_string();
    let ran = world.run(&["outbox", "status", "--config", &path, "--database", "till"], &[]).await;
    ran.assert_one_line(2, &["--database till", "shop"]);
    let ran = world.run(&["migrate", "outbox", "--config", &path], &[]).await;
    assert!(ran.stdout.contains("outbox: up to date"), "{ran:#?}");
    let ran = world
        .run(&["outbox", "dead-letter", "discard", "0192f0c1-7a5e-7cc3-9d57-2f0a6b1e4c11", "--config", &path], &[])
        .await;
    assert_eq!(ran.code, Some(2), "a reason is required: {ran:#?}");
}
