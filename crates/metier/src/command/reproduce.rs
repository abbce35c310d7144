//! `metier reproduce`.

use super::{Global, Verdict};
use crate::recipe::{Options, Recipe, run};
use metier_core::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Run a published work's recipe in full, and print its claim against what was measured
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier reproduce quickstart\nExits 1 when a check does not hold.")]
pub struct Arguments {
    /// The recipe's name (recipes/NAME.toml) or its path
    #[arg(value_name = "SLUG")]
    slug: String,
    /// Where recipes are looked for
    #[arg(long, default_value = "recipes", value_name = "FOLDER")]
    recipes: PathBuf,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let direct = PathBuf::from(&arguments.slug);
    let path = if direct.extension().is_some_and(|ending| ending == "toml") {
        direct
    } else {
        arguments.recipes.join(format!("{}.toml", arguments.slug))
    };
    if !path.exists() {
        let known = slugs(&arguments.recipes);
        let near = metier_core::fault::near_miss(&arguments.slug, known.iter().map(String::as_str));
        return Err(Error::file(&path, "there is no such recipe").hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        }));
    }
    let recipe = Recipe::load(&path, &Options { seed: global.seed, ..Options::default() })?;
    let report = run::run(&recipe, global)?;
    let receipt = json!({
        "recipe": recipe.slug, "title": recipe.head.title, "source": recipe.head.source, "claim": recipe.head.claim,
        "date": today(),
        "program": env!("CARGO_PKG_VERSION"),
        "checks": report.json()["checks"],
        "seconds": report.stages.iter().map(|stage| stage.artifact.record.real.seconds).sum::<f64>(),
    });
    let receipts = global.store.join("receipts");
    std::fs::create_dir_all(&receipts).map_err(|error| Error::io(&receipts, "create the folder", &error))?;
    let file = receipts.join(format!("{}.json", recipe.slug));
    metier_core::store::write_atomic(&file, format!("{receipt:#}\n").as_bytes())?;
    if global.json {
        super::print_line(&receipt)?;
    } else {
        super::print(&format!(
            "{}\nclaim: {}\n\n{}\nreceipt: {}\n",
            recipe.head.title,
            recipe.head.claim,
            report.text(),
            file.display()
        ))?;
    }
    Ok(if report.holds() { Verdict::Fine } else { Verdict::CheckFailed })
}

/// The date in UTC, as `2026-11-23` (the calendar of days since 1970; Howard Hinnant, `civil_from_days`).
fn today() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds / 86_400)
}

fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    format!("{:04}-{month:02}-{day:02}", year_of_era + era * 400 + u64::from(month <= 2))
}

fn slugs(folder: &Path) -> Vec<String> {
    let mut out: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_become_dates() {
        assert_eq!([0, 59, 11_016, 20_780].map(date), ["1970-01-01", "1970-03-01", "2000-02-29", "2026-11-23"]);
    }
}
