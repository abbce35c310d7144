use hayro_interpret::font::{Glyph, GlyphRun};
use hayro_interpret::hayro_cmap::{BfString, WritingMode};
use hayro_interpret::kurbo::{Affine, BezPath, Point, Vec2};
use hayro_interpret::{BlendMode, ClipPath, Device, DrawMode, DrawProps, Image, ImageDrawProps, SoftMask};

/// The text of a page, written down while it is drawn.
#[derive(Default)]
pub(super) struct Layout {
    /// What was written so far.
    pub text: String,
    /// Signs of which the file does not say what they mean; in the text they are U+FFFD.
    pub unknown: u32,
    /// Whether something was drawn that is no text.
    pub image: bool,
    last: Option<Last>,
    /// Where the run before began, and how many signs it had: what is filled and outlined is drawn twice.
    drawn: Option<(Point, usize)>,
}

/// Where the sign before ended, the way it was read in, and its size.
struct Last {
    end: Point,
    along: Vec2,
    size: f64,
}

/// Size of a font in the units of its signs.
const UNITS: f64 = 1000.0;
/// Distances in sizes of the font: what is a space; how far a line is from the one before, at least, and at most without an empty line between.
const SPACE: f64 = 0.15;
const LINE: f64 = 0.5;
const APART: f64 = 1.8;
/// How far a sign may step back without beginning a line, as accents over letters do.
const BACK: f64 = 1.0;

impl Layout {
    /// Writes what stands for a sign, behind the white space that its place asks for.
    fn write(&mut self, place: Affine, advance: f64, vertical: bool, sign: &str) {
        let origin = place * Point::ZERO;
        let (across, up) = (place * Point::new(UNITS, 0.0) - origin, place * Point::new(0.0, UNITS) - origin);
        let (along, size) = if vertical { (-up, across.hypot()) } else { (across, up.hypot()) };
        let length = along.hypot();
        let along = if length > 0.0 { along / length } else { Vec2::new(1.0, 0.0) };
        if let Some(last) = &self.last {
            let (step, size) = (origin - last.end, size.max(last.size));
            let (ahead, rise) = (step.dot(last.along) / size, step.dot(Vec2::new(-last.along.y, last.along.x)) / size);
            let turned = along.dot(last.along) < 0.9;
            if turned || !(-APART..=LINE).contains(&rise) {
                self.end_line("\n\n");
            } else if rise < -LINE || ahead < -BACK {
                self.end_line("\n");
            } else if ahead > SPACE {
                self.space();
            }
        }
        if sign.chars().all(char::is_whitespace) {
            self.space();
        } else {
            self.text.push_str(sign);
        }
        let end = origin + along * (advance / UNITS * length);
        self.last = (end.is_finite() && size.is_finite() && size > 0.0).then_some(Last { end, along, size });
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(char::is_whitespace) {
            self.text.push(' ');
        }
    }

    fn end_line(&mut self, by: &str) {
        self.text.truncate(self.text.trim_end().len());
        if !self.text.is_empty() {
            self.text.push_str(by);
        }
    }

    /// Takes a character over: ligatures as their letters, of control characters those that are white space.
    fn character(sign: &mut String, character: char) {
        match character {
            '\u{fb00}' => sign.push_str("ff"),
            '\u{fb01}' => sign.push_str("fi"),
            '\u{fb02}' => sign.push_str("fl"),
            '\u{fb03}' => sign.push_str("ffi"),
            '\u{fb04}' => sign.push_str("ffl"),
            '\u{fb05}' | '\u{fb06}' => sign.push_str("st"),
            _ if character.is_control() && !character.is_whitespace() => {}
            _ => sign.push(character),
        }
    }
}

impl<'a> Device<'a> for Layout {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        let Some(first) = run.glyphs().first() else { return };
        let drawn = (props.transform * first.transform() * Point::ZERO, run.glyphs().len());
        if self.drawn.replace(drawn) == Some(drawn) {
            return;
        }
        let vertical = matches!(run.writing_mode(), WritingMode::Vertical);
        let mut sign = String::new();
        for glyph in run.glyphs() {
            sign.clear();
            match glyph.as_unicode() {
                Some(BfString::Char(character)) => Self::character(&mut sign, character),
                Some(BfString::String(text)) => {
                    text.chars().for_each(|character| Self::character(&mut sign, character));
                }
                None => {
                    self.unknown = self.unknown.saturating_add(1);
                    sign.push(char::REPLACEMENT_CHARACTER);
                }
            }
            let advance = match &**glyph {
                _ if vertical => None,
                Glyph::Outline(glyph) => glyph.advance_width(),
                Glyph::Type3(glyph) => glyph.advance_width(),
            };
            let advance = advance.map_or(if vertical { UNITS } else { UNITS / 2.0 }, f64::from);
            self.write(props.transform * glyph.transform(), advance, vertical, &sign);
        }
    }

    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {
        self.image = true;
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}
