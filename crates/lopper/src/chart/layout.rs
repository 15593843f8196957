//! Where things stand in a picture. Widths of text are estimated: browsers choose the font.

use super::scale::label;
use super::{Chart, Horizontal, Scale};

/// Size of the plot itself.
const PLOT: (f64, f64) = (600.0, 340.0);
/// Width of a character of ticks and legends.
const CHARACTER: f64 = 6.7;
/// Height of a line of the legend.
pub(super) const LEGEND: f64 = 20.0;
/// Characters of a line of the title, for each pixel of width.
const TITLE_CHARACTERS: f64 = 1.0 / 9.8;
/// How many times the smallest value the largest is where a horizontal axis becomes logarithmic.
const DECADES: f64 = 8.0;
/// More numbers than this have no ticks of their own.
const MOST_TICKS: usize = 12;
/// Between the ends of a horizontal axis of words and the first and last word, as a share of their distance.
const MARGIN: f64 = 0.5;

/// Edges of the plot within the picture, in pixels, and its scales.
pub(super) struct Layout<'a> {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub title: Vec<String>,
    /// Whether the words below the horizontal axis are turned, to fit.
    pub tilted: bool,
    pub y: Scale,
    x: Scale,
    horizontal: &'a Horizontal,
    series: usize,
}

impl<'a> Layout<'a> {
    pub fn new(chart: &'a Chart, y: Scale) -> Self {
        let widest = y.ticks().iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max);
        let names = chart.series.iter().map(|series| text_width(&series.name)).fold(0.0, f64::max);
        let legend = if chart.series.len() > 1 { 44.0 + names } else { 24.0 };
        let left = 44.0 + widest;
        let right = left + PLOT.0;
        let width = right + legend;
        let title = wrap(&chart.title, ((width - left) * TITLE_CHARACTERS) as usize);
        let top = 30.0 + 19.0 * title.len() as f64;
        let bottom = top + PLOT.1;
        let (tilted, below) = below(&chart.x);
        let (x, horizontal, series) = (horizontal_scale(&chart.x), &chart.x, chart.series.len());
        let entries = if chart.series.len() > 1 { chart.series.len() } else { 0 };
        let height = (bottom + below).max(top + LEGEND * entries as f64);
        Self { width, height, left, right, top, bottom, title, tilted, y, x, horizontal, series }
    }

    pub fn middle_x(&self) -> f64 {
        f64::midpoint(self.left, self.right)
    }

    pub fn middle_y(&self) -> f64 {
        f64::midpoint(self.top, self.bottom)
    }

    /// Of a number, or of the place of a word.
    pub fn x_of(&self, value: f64) -> f64 {
        let share = match self.horizontal {
            Horizontal::Numbers(_) | Horizontal::Measured(_) => self.x.place(value),
            Horizontal::Categories(words) => (value + MARGIN) / (words.len() as f64 - 1.0 + 2.0 * MARGIN),
        };
        self.left + share * (self.right - self.left)
    }

    pub fn y_of(&self, value: f64) -> f64 {
        self.bottom - self.y.place(value) * (self.bottom - self.top)
    }

    /// How far from its place a series stands, so that several at one word do not hide each other.
    pub fn aside(&self, series: usize) -> f64 {
        let Horizontal::Categories(words) = self.horizontal else { return 0.0 };
        let slot = PLOT.0 / words.len().max(1) as f64;
        let step = (0.7 * slot / self.series.max(1) as f64).min(14.0);
        (series as f64 - (self.series as f64 - 1.0) / 2.0) * step
    }

    /// Places and labels; numbers too close to their left neighbour have none.
    pub fn x_ticks(&self) -> Vec<(f64, String)> {
        match self.horizontal {
            Horizontal::Categories(words) => {
                words.iter().enumerate().map(|(place, word)| (self.x_of(place as f64), word.clone())).collect()
            }
            Horizontal::Measured(_) => self.round_ticks(),
            Horizontal::Numbers(values) => {
                let mut values = values.clone();
                values.sort_by(f64::total_cmp);
                values.dedup();
                if values.len() > MOST_TICKS { self.round_ticks() } else { self.apart(&values) }
            }
        }
    }

    fn round_ticks(&self) -> Vec<(f64, String)> {
        self.x.ticks().into_iter().map(|(value, label)| (self.x_of(value), label)).collect()
    }

    /// Ticks at these numbers, sorted.
    fn apart(&self, values: &[f64]) -> Vec<(f64, String)> {
        let mut free = f64::NEG_INFINITY;
        let mut ticks = Vec::new();
        for &value in values {
            let (place, label) = (self.x_of(value), label(value));
            let half = text_width(&label) / 2.0;
            if place - half >= free {
                free = place + half + CHARACTER;
                ticks.push((place, label));
            }
        }
        ticks
    }
}

fn horizontal_scale(x: &Horizontal) -> Scale {
    match x {
        Horizontal::Numbers(values) | Horizontal::Measured(values) => Scale::of(values, DECADES),
        Horizontal::Categories(_) => Scale::of(&[], DECADES),
    }
}

/// Whether words must be turned to fit, and the room below the plot.
fn below(x: &Horizontal) -> (bool, f64) {
    let Horizontal::Categories(words) = x else { return (false, 58.0) };
    let longest = words.iter().map(|word| text_width(word)).fold(0.0, f64::max);
    if longest + CHARACTER <= PLOT.0 / words.len().max(1) as f64 {
        (false, 58.0)
    } else {
        (true, 54.0 + 0.53 * longest)
    }
}

fn text_width(text: &str) -> f64 {
    CHARACTER * text.chars().count() as f64
}

/// Lines of at most so many characters, broken at spaces.
fn wrap(text: &str, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn titles_break_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  incomprehensible word", 4), ["incomprehensible", "word"]);
        assert!(wrap("", 4).is_empty());
    }
}
