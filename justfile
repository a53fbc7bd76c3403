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
    cargo bench --workspace

demo:
    cargo run --release -- demo
