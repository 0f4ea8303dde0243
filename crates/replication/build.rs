//! Compiles `proto/peer.proto` without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // From the package, where cargo runs this: the checkout may have moved since it was compiled.
    let root = std::path::Path::new("../../proto");
    let proto = root.join("peer.proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let descriptors = protox::compile([&proto], [root])?;
    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
