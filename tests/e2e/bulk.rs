//! Variants in bulk: out of nothing, in, killed on the way, out again, in again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Server, binary, run, run_json};

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

fn generate(file: &Path, count: u32) {
    let output = binary()
        .args(["generate", "variants", "--seed", "7", "--count", &count.to_string(), "--out", path(file)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn count(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} in {report}"))
}

fn export(data: &Path, file: &Path) -> BTreeMap<String, Value> {
    let output = run(data, &["export", "variants", "--out", path(file)]);
    assert!(output.status.success(), "{output:?}");
    let text = match file.extension().unwrap().to_str().unwrap() {
        "zst" => Command::new("zstd").args(["-dcq", path(file)]).output().unwrap().stdout,
        _ => std::fs::read(file).unwrap(),
    };
    let rows = String::from_utf8(text).unwrap();
    rows.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            (row["id"].as_str().unwrap().to_owned(), row)
        })
        .collect()
}

#[tokio::test]
async fn rows_go_in_once_through_kills_and_come_out_as_they_were() {
    const ROWS: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("rows.ndjson.zst"), folder.path().join("data"));
    generate(&file, ROWS);
    let places = data.join("imports");
    for _ in 0..2 {
        let mut child = binary()
            .args(["import", "variants", path(&file), "--data", path(&data)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed with a place on disk or at the end, whichever comes first.
        let began = Instant::now();
        while std::fs::read_dir(&places).map_or(0, Iterator::count) == 0
            && child.try_wait().unwrap().is_none()
        {
            assert!(began.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let report = run_json(&data, &["import", "variants", path(&file)]);
    assert_eq!((count(&report, "rows"), count(&report, "refused")), (u64::from(ROWS), 0), "{report}");
    let left = std::fs::read_dir(&places).map_or(0, Iterator::count);
    assert_eq!(left, 0, "an import that ended leaves no place");

    let again = run_json(&data, &["import", "variants", path(&file)]);
    assert_eq!((count(&again, "created"), count(&again, "unchanged")), (0, u64::from(ROWS)));
    let events = run_json(&data, &["log", "head"]);
    // Created, two claims; submitted and activated for most; one report for the file.
    let steps: u64 = (0..ROWS / 24 + 1)
        .map(|product| {
            let variants = u64::from((ROWS - product * 24).min(24));
            match product % 50 {
                48 => 0,
                49 => variants,
                _ => 2 * variants,
            }
        })
        .sum();
    assert_eq!(count(&events, "events"), u64::from(ROWS) * 3 + steps + 1);

    let exported = folder.path().join("out.ndjson.zst");
    let rows = export(&data, &exported);
    assert_eq!(rows.len() as u64, u64::from(ROWS));
    let copy = folder.path().join("copy");
    let report = run_json(&copy, &["import", "variants", path(&exported)]);
    assert_eq!((count(&report, "created"), count(&report, "refused")), (u64::from(ROWS), 0), "{report}");
    assert!(export(&copy, &folder.path().join("second.ndjson")) == rows, "the copy is not the original");
    assert_eq!(run_json(&copy, &["verify"])["ok"], true);

    let server = Server::start(&data);
    let found = server.connect().await.get("/v1/search?attr.color=Navy&facets=brand&limit=3").await;
    let navy = |row: &&Value| {
        row["data"]["attributes"][0]["value"] == "Navy" && row["data"]["lifecycle"] == "active"
    };
    assert_eq!(found["total"], rows.values().filter(navy).count(), "{found}");
    server.stop();
}

#[test]
fn what_is_refused_is_told_and_the_rest_goes_in() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("rows.csv"), folder.path().join("data"));
    let rows = "id,product_id,name,brand,category,sku,price,currency,lifecycle,attr.color,attr.size\n\
        a,tee,Tee,Acme,Shirts,T-1,10.00,GBP,active,Navy,M\n\
        b,tee,Tee,Acme,Shirts,T-1,-1,GBP,active,Navy,M\n\
        c,tee,Tee,Acme,Shirts,T-3,10.00,GBP,gone,Navy,L\n\
        d,tee,Tee,Acme,Shirts,T-4,,,active,Red,L\n\
        ,tee,Tee,Acme,Shirts,,12.50,GBP,,Red,M\n\
        a,tee,Tee,Acme,Shirts,T-1,10.00,GBP,active,Navy,M\n";
    std::fs::write(&file, rows).unwrap();
    let failing = |arguments: &[&str]| -> Value {
        let output =
            run(&data, &[&["import", "variants", path(&file), "--format", "json"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let errors = folder.path().join("rows.csv.errors.ndjson");
    let told = || -> Vec<(u64, Vec<String>)> {
        let text = std::fs::read_to_string(&errors).unwrap();
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let code = |error: &Value| error["code"].as_str().unwrap().to_owned();
            let mut codes: Vec<_> = match row["errors"].as_array() {
                Some(errors) => errors.iter().map(code).collect(),
                None => vec![code(&row)],
            };
            codes.sort_unstable();
            (count(&row, "row"), codes)
        };
        text.lines().map(row).collect()
    };
    let checked = failing(&["--dry-run"]);
    assert_eq!(
        (count(&checked, "created"), count(&checked, "unchanged"), count(&checked, "refused")),
        (3, 0, 3)
    );
    let all = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    // Every reason at once, those of the file itself included.
    let expected = vec![
        (2, all(&["duplicate_configuration", "duplicate_sku", "unprocessable"])),
        (3, all(&["invalid_request"])),
        (4, all(&["unprocessable"])),
    ];
    assert_eq!(told(), expected);
    assert_eq!(count(&run_json(&data, &["log", "head"]), "events"), 0, "a dry run writes nothing");

    let imported = failing(&[]);
    assert_eq!(
        (count(&imported, "created"), count(&imported, "unchanged"), count(&imported, "refused")),
        (2, 1, 3)
    );
    assert_eq!(told().iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 3, 4]);

    let mut child = binary()
        .args([
            "import",
            "variants",
            "-",
            "--format",
            "json",
            "--data",
            path(&data),
            "--errors",
            path(&errors),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(rows.lines().take(2).collect::<Vec<_>>().join("\n").as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((count(&piped, "rows"), count(&piped, "unchanged")), (1, 1), "{piped}");
    assert!(!errors.exists(), "no row was refused");
}

/// Several values of one type: in by CSV, found and counted by each, out and in again as they were.
#[tokio::test]
async fn attributes_with_several_values_are_found_by_each() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("rows.csv"), folder.path().join("data"));
    let rows = "id,product_id,name,brand,category,price,currency,lifecycle,attr.fabric[],attr.fabric[].display,attr.color\n\
        a,tee,Tee,Acme,Shirts,10.00,GBP,active,Wool|Silk,Merino|,Navy\n\
        b,tee,Tee,Acme,Shirts,10.00,GBP,active,Silk,,Navy\n\
        c,tee,Tee,Acme,Shirts,10.00,GBP,active,,,Red\n\
        d,tee,Tee,Acme,Shirts,10.00,GBP,active,Silk|Wool,,Navy\n";
    std::fs::write(&file, rows).unwrap();
    let output = run(&data, &["import", "variants", path(&file), "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The order of values makes no other configuration.
    assert_eq!(report["codes"], json!({"duplicate_configuration": 1}), "{report}");
    let exported = export(&data, &folder.path().join("out.ndjson"));
    let fabrics: Vec<_> = exported["a"]["data"]["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["type"] == "fabric")
        .collect();
    let told: Vec<_> = fabrics.iter().map(|fabric| (&fabric["value"], &fabric["display"])).collect();
    assert_eq!(told, [(&json!("Silk"), &json!("Silk")), (&json!("Wool"), &json!("Merino"))]);
    let copy = folder.path().join("copy");
    run_json(&copy, &["import", "variants", path(&folder.path().join("out.ndjson"))]);
    assert!(export(&copy, &folder.path().join("second.ndjson")) == exported, "the copy is not the original");

    for data in [&data, &copy] {
        let server = Server::start(data);
        let mut client = server.connect().await;
        let mut found = async |query: &str| {
            let answer = client.get(&format!("/v1/search?{query}&facets=attr.fabric&sort=newest")).await;
            let mut ids: Vec<_> = answer["hits"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| hit["variant_id"].as_str().unwrap().to_owned())
                .collect();
            ids.sort_unstable();
            (ids.join(" "), answer["facets"]["attr.fabric"].clone())
        };
        let both = json!([{"value": "Silk", "count": 2}, {"value": "Wool", "count": 1}]);
        for (query, ids) in [
            ("attr.fabric=Wool", "a"),
            ("attr.fabric=Silk", "a b"),
            ("attr.fabric=Wool&attr.fabric=Silk", "a b"),
            ("attr.fabric=Silk&attr.color=Navy", "a b"),
            ("q=wool&attr.color=Navy", "a"),
        ] {
            let (hits, counts) = found(query).await;
            assert_eq!(hits, ids, "{query}");
            // A variant counts once for each of its values; a group's own selection does not narrow its counts.
            if query.starts_with("attr.fabric") {
                assert_eq!(counts, both, "{query}");
            }
        }
        server.stop();
    }
}

/// What an import may change of a variant's view: when and in how many events it came to be here.
fn lasting(mut view: Value) -> Value {
    let fields = view.as_object_mut().unwrap();
    for field in ["revision", "position", "updated_at"] {
        fields.remove(field).unwrap_or_else(|| panic!("a view has {field}"));
    }
    for lock in fields["locks"].as_array_mut().unwrap() {
        lock.as_object_mut().unwrap().remove("locked_at").unwrap();
    }
    view
}

#[tokio::test]
async fn past_and_waiting_prices_lists_and_locks_come_out_and_go_in() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy, file) =
        (folder.path().join("data"), folder.path().join("copy"), folder.path().join("out.ndjson"));
    let server = Server::start(&data);
    let mut client = server.connect().await;
    let price = |amount: u32| json!({"amount": format!("{amount}.00"), "currency": "GBP"});
    let far = "2099-01-01T00:00:00Z";
    for (id, first) in [("plain", json!(price(10))), ("lamp", json!(price(10))), ("late", Value::Null)] {
        let body =
            json!({"product_id": id, "name": "Lamp", "brand": "Acme", "category": "lamps", "price": first});
        client.command(&format!("variant/{id}/create"), body).await;
    }
    // More than a row of the catalogue keeps.
    for amount in 1..=120 {
        let list = if amount % 2 == 0 { json!({"channel": "web"}) } else { Value::Null };
        let body = json!({"price": price(amount), "list": list, "reason": format!("step {amount}")});
        client.command("variant/lamp/change-price", body).await;
    }
    for body in [
        json!({"price": price(300), "effective_to": far, "reason": "sale"}),
        json!({"price": price(301), "list": {"customer_group": "trade"}, "effective_to": far, "reason": "sale"}),
        json!({"price": price(302), "effective_from": far, "reason": "later"}),
        json!({"price": price(303), "list": {"channel": "web"}, "effective_from": far, "reason": "later"}),
    ] {
        client.command("variant/lamp/change-price", body).await;
    }
    let end = json!({"list": {"currency": "GBP", "channel": "web"}, "reason": "over"});
    client.command("variant/lamp/end-price-list", end).await;
    client.command("variant/late/change-price", json!({"price": price(9), "reason": "at last"})).await;
    client.command("variant/lamp/submit", json!({})).await;
    let reply = client
        .command(
            "variant/lamp/lock",
            json!({"scopes": ["price", "details"], "reason": "audit", "until": far}),
        )
        .await;
    let position = reply["position"].as_str().unwrap();
    let mut views = Vec::new();
    for path in ["lamp", "late", "plain"] {
        let view = client.get(&format!("/v1/variants/{path}?min_position={position}")).await;
        views.push((path, view, client.get(&format!("/v1/variants/{path}/prices")).await));
    }
    server.stop();

    let rows = export(&data, &file);
    assert_eq!(rows["plain"]["data"].get("history"), None);
    assert_eq!(rows["lamp"]["data"]["history"]["prices"].as_array().unwrap().len(), 62);
    let report = run_json(&copy, &["import", "variants", path(&file)]);
    assert_eq!((count(&report, "created"), count(&report, "refused")), (3, 0), "{report}");
    let again = run_json(&copy, &["import", "variants", path(&file)]);
    assert_eq!(count(&again, "unchanged"), 3, "{again}");
    assert!(export(&copy, &folder.path().join("second.ndjson")) == rows, "the copy is not the original");
    let server = Server::start(&copy);
    let mut client = server.connect().await;
    for (path, view, prices) in views {
        assert_eq!(lasting(client.get(&format!("/v1/variants/{path}")).await), lasting(view));
        assert_eq!(client.get(&format!("/v1/variants/{path}/prices")).await, prices);
    }
    server.stop();
}

#[test]
fn an_import_does_not_empty_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("rows.ndjson"), folder.path().join("data"));
    generate(&file, 3);
    let before = std::fs::read(&file).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for errors in [&file, &link] {
        let output = run(&data, &["import", "variants", path(&file), "--errors", path(errors)]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("--errors"), "{text}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}
