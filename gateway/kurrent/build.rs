//! Compiles the message definitions in `proto/` in pure Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["gossip.proto", "server_features.proto", "streams.proto"];
    let definitions = protox::compile(files, ["proto"])?;
    tonic_build::configure()
        .build_client(false)
        .build_transport(false)
        .bytes(["."])
        .compile_fds(definitions)?;
    Ok(())
}
