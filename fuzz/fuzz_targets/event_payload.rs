//! `TYPE VERSION PAYLOAD`, any bytes as the payload of an event of any type and version: it is upcast and decoded, or refused,
//! never a panic; and what is decoded survives being written and read again.
#![no_main]

use daybook_schemas::AnyEvent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b' ');
    let (Some(name), Some(version), Some(payload)) = (parts.next(), parts.next(), parts.next()) else { return };
    let (Ok(name), Ok(version)) = (std::str::from_utf8(name), std::str::from_utf8(version)) else { return };
    let Ok(version) = version.parse() else { return };
    if let Ok(event) = AnyEvent::decode(name, version, payload) {
        let current = daybook_schemas::catalogue::current_version(name).expect("it was decoded");
        let written = event.to_data();
        let read = AnyEvent::decode(name, current, &written).expect("what is written can be read");
        assert!(read == event, "it reads as another event");
    }
});
