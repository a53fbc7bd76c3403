//! The simulations that ship with the product, run as their users run them.

use crate::harness::{Server, run};

#[test]
fn a_flash_sale_sells_exactly_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for arguments in [
        &["simulate", "flash-sale", "--buyers", "2000", "--units", "100"][..],
        &["simulate", "bots"],
        &["simulate", "duplicate-config"],
    ] {
        let output = run(folder.path(), &[arguments, &["--server", &server.url()]].concat());
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    server.stop();
}
