//! A reader that knows nothing but `docs/log-format.md`, in another language, reads what this crate writes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use daybook_eventlog::{
    Append, Expected, NewEvent, RecordedEvent, SegmentLog, SegmentOptions, StreamAppend, StreamId,
};
use serde::Deserialize;
use support::{event, read_everything, run_group};

/// An event as the reader prints it.
#[derive(Deserialize)]
struct Line {
    position: u64,
    stream: String,
    revision: u64,
    #[serde(rename = "type")]
    event_type: String,
    version: u16,
    event_id: String,
    recorded_at: i64,
    data: String,
    metadata: String,
}

impl Line {
    fn is(&self, event: &RecordedEvent) -> bool {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.position == event.position
            && self.stream == event.stream()
            && self.revision == event.revision
            && self.event_type == event.event_type()
            && self.version == event.version
            && self.event_id == event.event_id.to_string()
            && self.recorded_at == event.recorded_at
            && self.data == hex(event.data())
            && self.metadata == hex(event.metadata())
    }
}

fn reader(arguments: &[&str]) -> Result<Vec<Line>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/independent/log_reader.py");
    let output = Command::new("python3").arg(script).args(arguments).output().expect("python3 is installed");
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 32 << 10, block_bytes: 2 << 10, ..SegmentOptions::default() }
}

/// More types and kinds of streams than a directory has room for, several streams an append, an entry of the index that
/// is too long for one, empty payloads and some that do not compress.
fn write(log: &SegmentLog) {
    const TYPES: [&str; 80] = {
        const NAMES: &str =
            "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.A.B.C.D.E.F.G.H.I.J.K.L.M.N.O.P.Q.R";
        let mut types = [NAMES; 80];
        let mut n = 0;
        while n < 80 {
            types[n] = NAMES.split_at(n + 1).0;
            n += 1;
        }
        types
    };
    let mut dice = 1u64;
    for n in 0..900u128 {
        let mut part = |stream: String, id: u128| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = dice.to_be_bytes().repeat(usize::from(n % 3 == 0) * 4);
            let event = NewEvent {
                event_type: TYPES[usize::try_from(n % 80).unwrap()],
                version: u16::try_from(1 + n).unwrap(),
                recorded_at: 1_000 - i64::try_from(n).unwrap(),
                metadata: Bytes::from(vec![b'm'; usize::try_from(n % 5).unwrap()]),
                ..event(id, noise)
            };
            let stream = StreamId::new(stream).unwrap();
            StreamAppend { stream, expected: Expected::Any, events: vec![event] }
        };
        let streams = vec![part("busy".into(), 2 * n + 1), part(format!("kind{n}-{}", n % 7), 2 * n + 2)];
        run_group(log, vec![Append::new(streams)]).into_iter().for_each(|result| drop(result.unwrap()));
    }
    log.wait_until_sealed();
}

#[test]
fn a_reader_written_from_the_documentation_reads_all_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(folder.path(), options()).unwrap();
    write(&log);
    let stats = log.stats();
    assert!(stats.sealed_segments > 5 && stats.index_runs < stats.sealed_segments, "{stats:?}");
    let events = read_everything(&log);
    let mut export = Vec::new();
    log.export(&mut export, 0).unwrap();
    let place = folder.path().to_str().unwrap();

    // While the log is open its tail has no end mark; afterwards it has one.
    let same =
        |lines: Vec<Line>| lines.len() == events.len() && lines.iter().zip(&events).all(|(l, e)| l.is(e));
    assert!(same(reader(&["read", place]).unwrap()));
    drop(log);
    assert!(same(reader(&["read", place]).unwrap()));
    let names = ["kind9-2", "busy", "kind1-nothing", "kind899-3"];
    let lines = reader(&[&["stream", place][..], &names].concat()).unwrap();
    let wanted = || names.iter().flat_map(|name| events.iter().filter(move |event| event.stream() == *name));
    assert_eq!(lines.len(), wanted().count());
    assert!(lines.iter().zip(wanted()).all(|(line, event)| line.is(event)));
    let file = folder.path().join("export");
    std::fs::write(&file, export).unwrap();
    assert!(same(reader(&["export", file.to_str().unwrap()]).unwrap()));
}

#[test]
fn it_finds_damage_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(folder.path(), options()).unwrap();
    write(&log);
    drop(log);
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for ending in ["LOG", "sealed", "log"] {
        let file = names.iter().rfind(|path| path.to_str().unwrap().ends_with(ending)).unwrap();
        let whole = std::fs::read(file).unwrap();
        let mut damaged = whole.clone();
        let at = if ending == "log" { 4096 + 50 } else { whole.len() / 2 };
        damaged[at] ^= 1;
        std::fs::write(file, damaged).unwrap();
        let error = reader(&["read", folder.path().to_str().unwrap()]).err().unwrap();
        assert!(error.starts_with("damaged: "), "{error}");
        std::fs::write(file, whole).unwrap();
    }
}
