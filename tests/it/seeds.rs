//! The fuzz targets' seeds, through the same bodies, by the stable compiler: what `cargo fuzz` starts from must pass.

#[path = "../../fuzz/src/job.rs"]
mod job;
#[path = "../../fuzz/src/names.rs"]
mod names;
#[path = "../../fuzz/src/state.rs"]
mod state;
#[path = "../../fuzz/src/wire.rs"]
mod wire;

use std::path::Path;

fn replay(name: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let seed = std::fs::read(&file).unwrap();
        println!("{}", file.display());
        run(&seed);
        // Cut and changed ones are a taste of what the fuzzer makes of them.
        for at in (0..seed.len()).step_by(seed.len() / 8 + 1) {
            run(&seed[..at]);
            let mut changed = seed.clone();
            changed[at] ^= 1 << (at % 8);
            run(&changed);
        }
    }
}

#[test]
fn wire_seeds_pass() {
    replay("wire", wire::run);
}

#[test]
fn name_seeds_pass() {
    replay("names", names::run);
}

#[test]
fn job_seeds_pass() {
    replay("job", job::run);
}

#[test]
fn state_seeds_pass() {
    replay("state", state::run);
}
