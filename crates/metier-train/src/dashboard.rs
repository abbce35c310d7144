//! What a person sees of a run that is under way.

use crate::run::StepRecord;
use crate::watch::{Sample, Step};
use metier_core::memory::display;
use metier_core::progress::short;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns that the loss takes before its curve.
const BEFORE_CURVE: usize = 18;
/// A curve is no wider, on however wide a terminal.
const WIDEST: usize = 80;

/// The rows below a run's bar, each a label and its text, for a terminal of `width` columns.
pub(crate) fn rows(
    history: &[StepRecord],
    now: &Step,
    sample: Option<&Sample>,
    width: usize,
) -> Vec<(&'static str, String)> {
    let curve = curve(history, width.saturating_sub(BEFORE_CURVE).min(WIDEST));
    let mut speed = vec![format!("{} tokens/s", short(now.tokens_per_second))];
    speed.extend(now.share_of_peak.map(|share| format!("{:.0} % of peak", 100.0 * share)));
    speed.extend(now.memory_bytes.map(|bytes| format!("{} of memory", display(bytes))));
    let mut rows = vec![
        ("loss", format!("{:<8.4}{curve}", now.loss)),
        ("rate", format!("{:.2e} · gradient {:.3}", now.rate, now.gradient_norm)),
        ("speed", speed.join(" · ")),
    ];
    rows.extend(sample.map(|sample| ("sample", format!("{}▸{}", sample.prompt, sample.text))));
    rows
}

/// The losses so far in at most `width` characters, each the mean of as many steps.
fn curve(history: &[StepRecord], width: usize) -> String {
    let chunk = history.len().div_ceil(width.max(1)).max(1);
    let means: Vec<f32> = history.chunks(chunk).map(crate::run::mean).collect();
    let low = means.iter().copied().fold(f32::INFINITY, f32::min);
    let high = means.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let level = |mean: f32| {
        let share = if high > low { (mean - low) / (high - low) } else { 0.5 };
        LEVELS[(share * 7.0).round() as usize % LEVELS.len()]
    };
    means.into_iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::progress::panel;

    fn history(losses: &[f32]) -> Vec<StepRecord> {
        (1..)
            .zip(losses)
            .map(|(step, loss)| StepRecord { step, loss: *loss, rate: 3e-4, gradient_norm: 0.5, tokens: 64 })
            .collect()
    }

    #[test]
    fn the_panel_shows_the_values_in_the_width_of_the_terminal() {
        let history = history(&(0..500).map(|step| 5.0 - 0.008 * step as f32).collect::<Vec<_>>());
        let now = Step {
            step: 500,
            steps: 1000,
            loss: 1.008,
            rate: 3e-4,
            gradient_norm: 0.5,
            tokens: 64,
            tokens_per_second: 12_345.0,
            share_of_peak: Some(0.416),
            memory_bytes: Some(812_000_000),
            seconds_left: 12.0,
        };
        let sample = Sample { step: 450, prompt: "Once upon".into(), text: " a time there was ".repeat(9) };
        for width in [20, 60, 80, 400] {
            let shown = panel(&rows(&history, &now, Some(&sample), width), width);
            let lines: Vec<&str> = shown.lines().skip(1).collect();
            assert_eq!(lines.len(), 4, "{shown}");
            assert!(width < 400 || lines[3].contains("Once upon▸ a time"), "{shown}");
            for line in lines {
                let plain: String = line.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
                assert!(plain.chars().count() <= width, "{plain}");
            }
        }
        let shown = panel(&rows(&history, &now, None, 80), 80);
        for value in ["1.0080", "3.00e-4", "gradient 0.500", "12.3k tokens/s", "42 % of peak", "812.0 MB", "█▇", "▂▁"]
        {
            assert!(shown.contains(value), "`{value}` is not in {shown}");
        }
    }

    #[test]
    fn a_curve_of_few_steps_or_of_one_value_is_drawn_too() {
        assert_eq!(curve(&history(&[]), 10), "");
        assert_eq!(curve(&history(&[2.0]), 10), "▅");
        assert_eq!(curve(&history(&[2.0, 2.0]), 10), "▅▅");
        assert_eq!(curve(&history(&[3.0, 2.0, 1.0]), 10), "█▅▁");
        assert_eq!(curve(&history(&[3.0, 2.0, 1.0]), 0), "▅");
    }
}
