//! A line over steps, as SVG.

use super::escaped;
use std::fmt::Write;

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Points are drawn as so many columns at most, each with its mean and its range.
const COLUMNS: usize = 300;
/// Values whose largest is so many times the least are better seen by their ratios.
const WIDE: f64 = 50.0;

/// Values of a run by step. Steps rise; values that are no numbers are left out.
pub struct Plot<'a> {
    /// What the values are.
    pub title: &'a str,
    /// Step and value.
    pub points: &'a [(u64, f64)],
    /// Draw a running mean over the values too.
    pub smooth: bool,
    /// Take a logarithmic scale where the values are positive and far apart.
    pub ratios: bool,
    /// A level to be marked, and what it is; not drawn where it lies outside of the values.
    pub mark: Option<(f64, &'a str)>,
}

/// Neighboring points drawn as one.
struct Column {
    steps: (u64, u64),
    low: f64,
    mean: f64,
    high: f64,
}

/// From values to places on the page.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        // A range without extent gets some, so that its value stands in the middle.
        let half = match low {
            _ if high > low => 0.0,
            0.0 => 1.0,
            _ => low.abs() * 0.05,
        };
        Self { low: low - half, high: high + half, from, to, logarithmic: false }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values with their labels, about so many.
    fn ticks(&self, about: f64, whole: bool) -> Vec<(f64, String)> {
        if self.logarithmic {
            let tens = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let of = |digits: &[f64]| {
                let values = tens.clone().flat_map(|ten| digits.iter().map(move |digit| digit * 10_f64.powi(ten)));
                let values = values.filter(|value| (self.low..=self.high).contains(value));
                values.map(|value| (value, label(value, value))).collect::<Vec<_>>()
            };
            let fine = of(&[1.0, 2.0, 5.0]);
            let chosen = if fine.len() > 7 { of(&[1.0]) } else { fine };
            let every = chosen.len().div_ceil(7).max(1);
            return chosen.into_iter().step_by(every).collect();
        }
        let rough = (self.high - self.low) / about;
        let ten = 10_f64.powf(rough.log10().floor());
        let step = ten * [1.0, 2.0, 5.0].into_iter().find(|digit| digit * ten >= rough).unwrap_or(10.0);
        let step = if whole { step.max(1.0) } else { step };
        let first = (self.low / step).ceil();
        // A last tick stands at the end in spite of rounding.
        let end = self.high + step * 1e-6;
        let values = (0..64).map(|number| (first + f64::from(number)) * step).take_while(|value| *value <= end);
        values.map(|value| (value, label(value, step))).collect()
    }
}

/// A value with the digits that tell it from one a `step` away.
fn label(value: f64, step: f64) -> String {
    let digits = |of: f64| of.abs().log10().floor();
    if value == 0.0 || value.abs() < step / 2.0 {
        return "0".to_owned();
    }
    if step < 1e-3 || value.abs() >= 1e6 {
        let digits = (digits(value) - digits(step * 1.000_001)).clamp(0.0, 9.0) as usize;
        return format!("{value:.digits$e}");
    }
    let digits = (-digits(step * 1.000_001)).max(0.0) as usize;
    format!("{value:.digits$}")
}

impl Plot<'_> {
    /// The plot with its title, axes, labels, and the value of a step where the pointer is.
    pub fn svg(&self) -> String {
        let columns = self.columns();
        let title = escaped(self.title);
        let (Some(first), Some(last)) = (columns.first(), columns.last()) else {
            return format!("<h3>{title}</h3>\n<p>No step has a value.</p>\n");
        };
        let least = columns.iter().map(|column| column.low).fold(f64::INFINITY, f64::min);
        let most = columns.iter().map(|column| column.high).fold(f64::NEG_INFINITY, f64::max);
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let across = Scale::new(first.steps.0 as f64, last.steps.1 as f64, LEFT, right);
        let mut up = Scale::new(least, most, bottom, TOP);
        up.logarithmic = self.ratios && least > 0.0 && most / least > WIDE;
        if !up.logarithmic {
            // Room above and below, but none below zero for what is never negative.
            let room = (up.high - up.low) * 0.04;
            up.low = if least >= 0.0 { (up.low - room).max(0.0) } else { up.low - room };
            up.high += room;
        }
        let mut out = format!(
            "<h3>{title}{}</h3>\n<svg class=\"plot\" role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\">\n",
            if up.logarithmic { ", logarithmic" } else { "" }
        );
        for (value, label) in up.ticks(5.0, false) {
            let y = up.place(value);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for (value, label) in across.ticks(8.0, true) {
            let x = across.place(value);
            let _ = write!(
                out,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v4\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                bottom + 17.0
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text><path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>",
            f64::midpoint(LEFT, right),
            HEIGHT - 6.0
        );
        self.lines(&mut out, &columns, &across, &up);
        if let Some((value, what)) = self.mark.filter(|(value, _)| (up.low..=up.high).contains(value)) {
            let y = up.place(value);
            let _ = writeln!(
                out,
                "<path class=\"mark\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text class=\"mark\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                if y > TOP + 14.0 { y - 4.0 } else { y + 14.0 },
                escaped(what)
            );
        }
        out += "<g class=\"over\">";
        let width = (right - LEFT) / columns.len() as f64;
        for column in &columns {
            let middle = across.place(column.middle());
            let (from, to) = ((middle - width / 2.0).max(LEFT), (middle + width / 2.0).min(right));
            let _ = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                to - from,
                bottom - TOP,
                column.words()
            );
        }
        out + "</g>\n</svg>\n"
    }

    fn columns(&self) -> Vec<Column> {
        let points: Vec<_> = self.points.iter().filter(|(_, value)| value.is_finite()).copied().collect();
        points
            .chunks(points.len().div_ceil(COLUMNS).max(1))
            .map(|points| {
                let values = points.iter().map(|(_, value)| *value);
                Column {
                    steps: (points[0].0, points[points.len() - 1].0),
                    low: values.clone().fold(f64::INFINITY, f64::min),
                    mean: values.clone().sum::<f64>() / points.len() as f64,
                    high: values.fold(f64::NEG_INFINITY, f64::max),
                }
            })
            .collect()
    }

    fn lines(&self, out: &mut String, columns: &[Column], across: &Scale, up: &Scale) {
        let path = |values: &mut dyn Iterator<Item = (f64, f64)>| {
            let places = values.map(|(x, y)| format!("{:.1} {:.1}", across.place(x), up.place(y)));
            places.collect::<Vec<_>>().join("L")
        };
        if let [only] = columns {
            let (x, y) = (across.place(only.middle()), up.place(only.mean));
            let _ = writeln!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
            return;
        }
        if columns.iter().any(|column| column.steps.0 < column.steps.1) {
            let above = columns.iter().map(|column| (column.middle(), column.high));
            let below = columns.iter().rev().map(|column| (column.middle(), column.low));
            let _ = writeln!(out, "<path class=\"band\" d=\"M{}Z\"/>", path(&mut above.chain(below)));
        }
        let reach = if self.smooth { columns.len() / 30 } else { 0 };
        let raw = path(&mut columns.iter().map(|column| (column.middle(), column.mean)));
        let _ = writeln!(out, "<path class=\"{}\" d=\"M{raw}\"/>", if reach > 0 { "raw" } else { "line" });
        if reach > 0 {
            let mean = |at: usize| {
                let near = &columns[at.saturating_sub(reach)..(at + reach + 1).min(columns.len())];
                (columns[at].middle(), near.iter().map(|column| column.mean).sum::<f64>() / near.len() as f64)
            };
            let _ = writeln!(out, "<path class=\"line\" d=\"M{}\"/>", path(&mut (0..columns.len()).map(mean)));
        }
    }
}

impl Column {
    fn middle(&self) -> f64 {
        f64::midpoint(self.steps.0 as f64, self.steps.1 as f64)
    }

    fn words(&self) -> String {
        let (first, last) = self.steps;
        if first == last {
            return format!("step {first}: {}", figure(self.mean));
        }
        let [mean, low, high] = [self.mean, self.low, self.high].map(figure);
        format!("steps {first} to {last}: {mean} on average, {low} to {high}")
    }
}

/// A value with five digits.
pub fn figure(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    if (-3.0..6.0).contains(&digits) {
        return format!("{value:.*}", (4.0 - digits).clamp(0.0, 9.0) as usize);
    }
    format!("{value:.4e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(u64, f64)]) -> String {
        Plot { title: "Loss", points, smooth: true, ratios: true, mark: Some((2.0, "clip")) }.svg()
    }

    #[test]
    fn axes_are_labeled_with_round_values() {
        let labels = |low, high| {
            let ticks = Scale::new(low, high, 0.0, 1.0).ticks(5.0, false);
            ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(2.13, 4.9), "3 4");
        assert_eq!(labels(0.0, 3e-4), "0 1e-4 2e-4 3e-4");
        assert_eq!(labels(0.11, 0.52), "0.2 0.3 0.4 0.5");
        assert_eq!(labels(-10.0, 12.0), "-10 -5 0 5 10");
        let mut scale = Scale::new(0.2, 900.0, 0.0, 1.0);
        scale.logarithmic = true;
        let labels: Vec<_> = scale.ticks(5.0, false).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["1", "10", "100"]);
    }

    #[test]
    fn one_step_no_step_and_no_number_are_drawn_too() {
        assert!(plot(&[]).contains("No step has a value"));
        let one = plot(&[(1, 3.0), (2, f64::NAN)]);
        assert!(one.contains("<circle") && one.contains("step 1: 3.0000") && !one.contains("NaN"), "{one}");
        for points in [[(1, 0.0), (2, 0.0)], [(1, 1e-300), (2, 1e300)], [(5, -1.0), (9, -1.0)]] {
            let drawn = plot(&points);
            assert!(!drawn.contains("NaN") && !drawn.contains("inf") && drawn.contains("class=\"line\""), "{drawn}");
        }
    }

    #[test]
    fn many_steps_become_columns_with_their_range() {
        let points: Vec<_> = (1..=3000).map(|step| (step, 1.0 + (step % 10) as f64)).collect();
        let drawn = plot(&points);
        assert_eq!(drawn.matches("<rect").count(), COLUMNS);
        assert!(drawn.contains("steps 1 to 10: 5.5000 on average, 1.0000 to 10.000"), "{drawn}");
        assert!(drawn.contains("class=\"band\"") && drawn.contains(">clip<"));
    }

    #[test]
    fn values_far_apart_are_seen_by_their_ratios() {
        assert!(plot(&[(1, 0.1), (2, 100.0)]).contains("Loss, logarithmic"));
        assert!(!plot(&[(1, 0.0), (2, 100.0)]).contains("logarithmic"));
    }
}
