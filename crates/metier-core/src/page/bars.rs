//! A histogram, as SVG.

use super::escaped;
use std::fmt::Write;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 130.0;
const SIDE: f64 = 14.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 20.0;
/// Labels below the bars.
const LABELS: usize = 5;

/// Counts of values in ranges that follow each other.
pub struct Bars<'a> {
    /// What the values are.
    pub title: &'a str,
    /// Where a range begins and ends, and how many values are in it; one that begins where it ends is of that value alone.
    pub bars: &'a [(f64, f64, u64)],
}

impl Bars<'_> {
    /// The histogram below its title: all bars equally wide, with their range, count and share where the pointer is.
    pub fn svg(&self) -> String {
        let title = escaped(self.title);
        let all: u64 = self.bars.iter().map(|bar| bar.2).sum();
        let most = self.bars.iter().map(|bar| bar.2).max().unwrap_or_default();
        if most == 0 {
            return format!("<h3>{title}</h3>\n<p>There is no value.</p>\n");
        }
        let mut out = format!(
            "<h3>{title}</h3>\n<svg class=\"plot\" role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\">\n"
        );
        let bottom = HEIGHT - BOTTOM;
        let step = (WIDTH - 2.0 * SIDE) / self.bars.len() as f64;
        for (number, (from, to, count)) in self.bars.iter().enumerate() {
            let x = SIDE + number as f64 * step;
            // What is rare stays visible.
            let height = if *count == 0 { 0.0 } else { ((bottom - TOP) * *count as f64 / most as f64).max(1.0) };
            let range = if to > from { format!("{} to {}", short(*from), short(*to)) } else { short(*from) };
            let share = *count as f64 / all as f64 * 100.0;
            let _ = write!(
                out,
                "<g><title>{range}: {count} ({share:.2} %)</title><rect class=\"dot\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"{height:.1}\"/><g class=\"over\"><rect x=\"{x:.1}\" y=\"{TOP}\" width=\"{step:.1}\" height=\"{}\"/></g></g>",
                x + step * 0.05,
                bottom - height,
                step * 0.9,
                bottom - TOP,
            );
        }
        let _ = write!(out, "<path class=\"axis\" d=\"M{SIDE} {bottom}H{}\"/>", WIDTH - SIDE);
        let count = self.bars.len().min(LABELS);
        for label in 0..count {
            let number = if count == 1 { 0 } else { label * (self.bars.len() - 1) / (count - 1) };
            let (from, to, _) = self.bars[number];
            // A value stands below the middle of its bar, the borders of a range below its sides.
            let is_value = to <= from;
            let (value, place) = match number {
                _ if is_value => (from, 0.5),
                _ if number + 1 == self.bars.len() => (to, 1.0),
                _ => (from, 0.0),
            };
            let anchor = match label {
                _ if is_value && step > 30.0 => "middle",
                0 => "start",
                _ if label + 1 == count => "end",
                _ => "middle",
            };
            let x = SIDE + (number as f64 + place) * step;
            let _ = write!(
                out,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT - 5.0,
                short(value)
            );
        }
        out + "</svg>\n"
    }
}

/// A value with three digits, and no zeros behind them; whole numbers below a million as they are.
pub fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e6 {
        return format!("{value}");
    }
    let ten = value.abs().log10().floor();
    if !(-3.0..6.0).contains(&ten) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.*}", (2.0 - ten).clamp(0.0, 5.0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_say_what_they_count() {
        let svg = Bars { title: "a<b", bars: &[(0.0, 0.0, 3), (1.0, 2.5, 0), (2.5, 1e7, 1)] }.svg();
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains("0: 3 (75.00 %)") && svg.contains("2.5 to 1.00e7: 1 (25.00 %)"), "{svg}");
        assert_eq!(svg.matches("class=\"dot\"").count(), 3);
        assert!(Bars { title: "t", bars: &[] }.svg().contains("There is no value"));
    }

    #[test]
    fn values_are_short() {
        let told = [0.0, 12.0, 0.123_456, 1234.56, -0.5, 1e-5, 1_234_567.0, 0.1].map(short);
        assert_eq!(told, ["0", "12", "0.123", "1235", "-0.5", "1.00e-5", "1.23e6", "0.1"]);
    }
}
