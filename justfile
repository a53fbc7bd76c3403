# Everything a change must pass.
verify: fmt lint test docs

fmt:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets -- -D warnings

# What needs no server.
test:
    cargo test --workspace

# Everything, servers included.
test-all:
    tests/run

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The benchmarks behind docs/benchmarks.md.
bench:
    tests/bench

demo:
    cargo run --release -- demo

# Looks for input that makes a target panic; needs cargo-fuzz and a nightly toolchain. What is found goes to fuzz/artifacts and
# becomes a regression test. Targets: command_body, event_payload, log_record, csv_importer.
fuzz target seconds="300":
    mkdir -p fuzz/corpus/{{target}}
    cargo +nightly fuzz run --fuzz-dir fuzz --sanitizer none {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}} -max_len=8192
