//! Assets: real models and data that are too large for the repository.

use std::path::PathBuf;

/// The path of the asset `name`, or `None` (and a line that says so) on a machine without it.
///
/// The path stands in the environment variable `METIER_ASSET_` + the name in upper case, with every
/// character other than a letter or digit replaced by `_`; `cargo xtask test` fetches the assets and sets
/// these. A test that gets `None` returns at once:
///
/// ```
/// let Some(folder) = metier_testkit::asset("a model nobody has") else { return };
/// # unreachable!("{}", folder.display());
/// ```
///
/// # Panics
/// When the variable is set to a path that does not exist: that is a mistake, not a lack.
pub fn asset(name: &str) -> Option<PathBuf> {
    let variable = variable(name);
    let Some(path) = std::env::var_os(&variable).filter(|value| !value.is_empty()).map(PathBuf::from) else {
        eprintln!("skipped: asset {name} is not here; `cargo xtask test` fetches it");
        return None;
    };
    assert!(path.exists(), "{variable} names {}, which does not exist", path.display());
    Some(path)
}

fn variable(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("METIER_ASSET_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_variables() {
        assert_eq!(variable("smollm2"), "METIER_ASSET_SMOLLM2");
        assert_eq!(variable("all-minilm v2"), "METIER_ASSET_ALL_MINILM_V2");
    }
}
