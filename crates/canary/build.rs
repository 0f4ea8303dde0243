//! Sets `cfg(canary)` if the environment asks for it: no feature that somebody could unify into a
//! program for users.

fn main() {
    println!("cargo:rerun-if-env-changed=RAFTCACHED_CANARIES");
    println!("cargo:rustc-check-cfg=cfg(canary)");
    if std::env::var_os("RAFTCACHED_CANARIES").is_some() {
        println!("cargo:rustc-cfg=canary");
    }
}
