//! The real data: every row accounted for, every figure right, and a killed import that goes on where it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{DEADLINE, Server, binary_on, data_set, run, run_json, sample};

/// Streams with the contents of their events, without positions and recording times.
fn contents(data: &Path) -> BTreeMap<(String, u64), Value> {
    let output = run(data, &["log", "read"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut events = BTreeMap::new();
    for line in lines.lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let fields = event.as_object_mut().unwrap();
        fields.remove("position");
        fields.remove("recorded_at");
        let key = (event["stream"].as_str().unwrap().to_owned(), event["revision"].as_u64().unwrap());
        assert!(events.insert(key, event).is_none());
    }
    events
}

#[test]
fn a_killed_import_goes_on_and_gives_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let file = sample();
    let report = run_json(&whole, &["import", "online-retail", file.to_str().unwrap()]);
    for kill in 1..=3_u64 {
        let mut child = binary_on(&killed)
            .args(["import", "online-retail"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed once a little more than before is on disk.
        let (mut moved, mut bytes) = (Instant::now(), 0);
        let wanted = kill * 3_000_000;
        while bytes < wanted && child.try_wait().unwrap().is_none() {
            let now = log_bytes(&killed);
            if now != bytes {
                (moved, bytes) = (Instant::now(), now);
            }
            assert!(moved.elapsed() < DEADLINE, "stuck at {bytes} of {wanted} bytes");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resumed = run_json(&killed, &["import", "online-retail", file.to_str().unwrap()]);
    assert!(resumed["replayed"].as_u64().unwrap() > 0, "the kills came before anything was done: {resumed}");
    for field in ["rows", "net", "classes", "orders", "refunds", "file_sha256", "commands"] {
        assert_eq!(resumed[field], report[field], "{field}");
    }
    assert!(contents(&killed) == contents(&whole), "the logs differ");
}

/// Bytes of the log that are not zeros waiting for use.
fn log_bytes(data: &Path) -> u64 {
    let Ok(output) = Command::new("du").arg("-sB1").arg(data.join("projections")).output() else { return 0 };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn the_whole_file_gives_exactly_the_figures_of_an_independent_calculation() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = data_set();
    let report = run_json(&data, &["import", "online-retail", file.to_str().unwrap()]);
    let rows: u64 = report["classes"].as_array().unwrap().iter().map(|c| c["rows"].as_u64().unwrap()).sum();
    assert_eq!(report["rows"], rows);
    if report["rows"] == 541_909 {
        let class =
            |name: &str| report["classes"].as_array().unwrap().iter().find(|c| c["class"] == name).unwrap();
        for (name, rows, amount) in [
            ("order_line", 530_143, "10655622.484"),
            ("credit", 9_288, "-896812.49"),
            ("bad_debt_adjustment", 3, "-11062.06"),
            ("stock_adjustment", 2_475, "0"),
        ] {
            assert_eq!(
                (class(name)["rows"].as_u64(), class(name)["amount"].as_str()),
                (Some(rows), Some(amount))
            );
        }
        assert_eq!(
            (&report["net"], &report["orders"], &report["variants"]),
            (&"9747747.934".into(), &19_963.into(), &3_958.into())
        );
    }
    let reconciled = run_json(&data, &["reconcile"]);
    assert_eq!(reconciled["clean"], true);
    let verified = run_json(&data, &["verify"]);
    assert_eq!(verified["ok"], true);
    let server = Server::start(&data);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/independent/online_retail.py");
    let output =
        Command::new("python3").arg(script).arg(&file).arg(server.url()).output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    server.stop();
}
