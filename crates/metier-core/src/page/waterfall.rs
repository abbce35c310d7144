//! Where points were won and lost, as SVG.

use super::escaped;
use std::fmt::Write;

const LABEL: f64 = 230.0;
const WIDTH: f64 = 780.0;
const RIGHT: f64 = 76.0;
const ROW: f64 = 20.0;
const BAR: f64 = 14.0;
/// Room beside the bars, as a share of what they span.
const ROOM: f64 = 0.08;

/// A row of a [`Waterfall`].
pub enum Row<'a> {
    /// A level that is reached, by what it is.
    Level(&'a str, f64),
    /// What is won on the way to the next level, or lost, and by what.
    Change(&'a str, f64),
}

/// Levels, and between them the changes that lead from one to the next.
pub struct Waterfall<'a> {
    /// What the levels are of.
    pub title: &'a str,
    /// Levels and changes from above to below.
    pub rows: &'a [Row<'a>],
}

impl Waterfall<'_> {
    /// The drawing below its title: a bar for each row, changes from where the one before ended. The scale begins near the least level,
    /// which the axis says, so that small changes are seen.
    pub fn svg(&self) -> String {
        let title = escaped(self.title);
        let mut spans = Vec::new();
        let mut at = 0.0_f64;
        for row in self.rows {
            let from = at;
            at = match row {
                Row::Level(_, value) => *value,
                Row::Change(_, by) => at + by,
            };
            spans.push((from, at));
        }
        let ends = || spans.iter().map(|span| span.1).filter(|end| end.is_finite());
        let (low, high) = (ends().fold(f64::INFINITY, f64::min), ends().fold(f64::NEG_INFINITY, f64::max));
        if low > high {
            return format!("<h3>{title}</h3>\n<p>There is no value.</p>\n");
        }
        let room = if high > low { (high - low) * ROOM } else { high.abs().max(1.0) * ROOM };
        let (least, most) = (low - room, high + room);
        let place = |value: f64| LABEL + (value - least) / (most - least) * (WIDTH - LABEL - RIGHT);
        let height = ROW * self.rows.len() as f64 + ROW;
        let mut out = format!(
            "<h3>{title}</h3>\n<svg class=\"plot\" role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\">\n"
        );
        for (number, (row, (from, to))) in self.rows.iter().zip(&spans).enumerate() {
            let y = ROW * number as f64;
            let (label, class, start, text) = match row {
                Row::Level(label, value) => (label, "dot", least, format!("{value:.2}")),
                Row::Change(label, by) => (label, if *by < 0.0 { "loss" } else { "gain" }, *from, format!("{by:+.2}")),
            };
            let (left, right) = (place(start.min(*to)), place(start.max(*to)));
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" \
                 width=\"{:.1}\" height=\"{BAR}\"/><text x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                LABEL - 8.0,
                y + BAR - 1.0,
                escaped(label),
                y + 1.0,
                // What is rare stays visible.
                (right - left).max(1.0),
                right + 6.0,
                y + BAR - 1.0,
            );
            if number + 1 < self.rows.len() {
                let x = place(*to);
                let _ = writeln!(out, "<path class=\"axis\" d=\"M{x:.1} {:.1}v{:.1}\"/>", y + BAR + 1.0, ROW - BAR);
            }
        }
        let bottom = height - 6.0;
        let _ = write!(out, "<text x=\"{LABEL}\" y=\"{bottom}\">{least:.2}</text>");
        let _ = write!(out, "<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">{most:.2}</text>", WIDTH - RIGHT);
        out + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_begin_where_the_row_before_ended() {
        let rows =
            [Row::Level("a<b", 40.0), Row::Change("up", 20.0), Row::Change("down", -5.0), Row::Level("end", 55.0)];
        let svg = Waterfall { title: "t", rows: &rows }.svg();
        assert!(svg.contains("a&lt;b") && svg.contains("+20.00") && svg.contains("-5.00"), "{svg}");
        let numbers = |class: &str, of: &str| -> f64 {
            let (_, rest) = svg.split_once(&format!("class=\"{class}\"")).unwrap();
            let (_, rest) = rest.split_once(&format!("{of}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        // 20 points up, 5 of them down again from the right end.
        assert!((numbers("gain", "width") - 4.0 * numbers("loss", "width")).abs() < 0.3);
        let right = |class: &str| numbers(class, "x") + numbers(class, "width");
        assert!((right("gain") - right("loss")).abs() < 0.2);
        assert!(Waterfall { title: "t", rows: &[] }.svg().contains("There is no value"));
        assert!(Waterfall { title: "t", rows: &[Row::Level("a", f64::NAN)] }.svg().contains("There is no value"));
    }
}
