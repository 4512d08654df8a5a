//! Reads `tests/golden/*.hex`: `#` begins a comment, spaces and lines are for the reader.

use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One golden frame, by file name without `.hex`.
pub fn read(name: &str) -> Vec<u8> {
    parse(&root().join(format!("tests/golden/{name}.hex")))
}

/// One golden certificate, list or key, by file name without `.hex`.
pub fn trust(name: &str) -> Vec<u8> {
    parse(&root().join(format!("tests/golden/trust/{name}.hex")))
}

/// All golden frames with their names, in order.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let directory = std::fs::read_dir(root().join("tests/golden")).unwrap();
    let mut paths: Vec<_> = directory
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 19, "golden packets are missing");
    let named = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| (named(path), parse(path)))
        .collect()
}

/// The committed corpus of a fuzz target.
pub fn corpus(target: &str) -> PathBuf {
    root().join("fuzz/corpus").join(target)
}

/// Asserts that the corpus holds these bytes; `HAMP_BLESS=1` writes them.
pub fn seed(target: &str, name: &str, bytes: &[u8]) {
    let file = corpus(target).join(name);
    if std::env::var_os("HAMP_BLESS").is_some() {
        std::fs::create_dir_all(corpus(target)).unwrap();
        std::fs::write(&file, bytes).unwrap();
    }
    let held = std::fs::read(&file).ok();
    assert_eq!(held.as_deref(), Some(bytes), "HAMP_BLESS=1 writes {file:?}");
}

fn parse(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let digits: Vec<u32> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}
