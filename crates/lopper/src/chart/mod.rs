//! A plot of points with error bars as SVG: text, lines and circles, no font files and no libraries.
//!
//! Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008), which most colour-blind readers tell apart.

mod layout;
mod scale;
mod svg;

use layout::{LEGEND, Layout};
pub use scale::Scale;
use svg::{Anchor, Svg};

/// What is drawn.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Stands above; broken into lines.
    pub title: String,
    /// Below the horizontal axis.
    pub x_title: String,
    /// Beside the vertical axis.
    pub y_title: String,
    /// The horizontal axis.
    pub x: Horizontal,
    /// What is compared, eight told apart by colour, as many again by shape.
    pub series: Vec<Series>,
    /// A level to compare with, and its name: a dashed line, or a note where it is so far off that it would flatten the rest.
    pub reference: Option<(String, f64)>,
}

/// What stands along the horizontal axis.
#[derive(Clone, Debug)]
pub enum Horizontal {
    /// Numbers, ticks where they are; logarithmic where they are positive and span much.
    Numbers(Vec<f64>),
    /// Numbers that were measured: as the others, with round ticks.
    Measured(Vec<f64>),
    /// Words; a dot's x is the place of its word. Nothing connects the dots.
    Categories(Vec<String>),
}

/// Dots of one colour.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend, which is there if there are several.
    pub name: String,
    /// From left to right.
    pub dots: Vec<Dot>,
}

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// A number, or a place in [`Horizontal::Categories`].
    pub x: f64,
    /// Its value.
    pub y: f64,
    /// Half the length of its error bar.
    pub deviation: Option<f64>,
}

const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#444444"];
/// A level that stretches the heights more than so many times is not drawn.
const MOST_STRETCH: f64 = 2.5;
/// How many times the smallest value the largest is where a vertical axis becomes logarithmic.
const DECADES: f64 = 20.0;

impl Chart {
    /// As a file. Dots that are not finite are left out.
    pub fn to_svg(&self) -> String {
        let y = Scale::of(&self.heights(), DECADES);
        let layout = Layout::new(self, y);
        let mut svg = Svg::new(layout.width, layout.height);
        self.draw_titles(&layout, &mut svg);
        draw_axes(&layout, &mut svg);
        self.draw_reference(&layout, &mut svg);
        for (index, series) in self.series.iter().enumerate() {
            self.draw_series(index, series, &layout, &mut svg);
        }
        if self.series.len() > 1 {
            self.draw_legend(&layout, &mut svg);
        }
        svg.finish()
    }

    /// Every height that must be on the vertical axis.
    fn heights(&self) -> Vec<f64> {
        let dots = self.series.iter().flat_map(|series| &series.dots);
        let ends = dots.flat_map(|dot| {
            let bar = dot.deviation.unwrap_or(0.0);
            // the lower end of a bar may not take a positive quantity to zero
            let low = if dot.y - bar > 0.0 || dot.y <= 0.0 { dot.y - bar } else { dot.y };
            [low, dot.y + bar]
        });
        let mut heights: Vec<f64> = ends.filter(|height| height.is_finite()).collect();
        let (low, high) = span(&heights);
        heights.extend(self.reference.iter().map(|(_, level)| *level).filter(|&level| {
            let stretched = high.max(level) - low.min(level);
            level.is_finite() && (high <= low || stretched <= MOST_STRETCH * (high - low))
        }));
        heights
    }

    fn draw_titles(&self, layout: &Layout, svg: &mut Svg) {
        for (line, text) in layout.title.iter().enumerate() {
            svg.text(layout.left, 28.0 + 19.0 * line as f64, Anchor::Start, "title", text);
        }
        svg.text(layout.middle_x(), layout.height - 12.0, Anchor::Middle, "axis", &self.x_title);
        svg.turned(20.0, layout.middle_y(), -90.0, Anchor::Middle, "axis", &self.y_title);
    }

    fn draw_reference(&self, layout: &Layout, svg: &mut Svg) {
        let Some((name, level)) = self.reference.as_ref().filter(|(_, level)| level.is_finite()) else { return };
        let (low, high) = span(&self.heights());
        if *level < low || *level > high {
            let (height, side) = if *level < low { (layout.bottom - 8.0, '↓') } else { (layout.top + 14.0, '↑') };
            svg.text(layout.left + 6.0, height, Anchor::Start, "note", &format!("{name} {side}"));
            return;
        }
        let height = layout.y_of(*level);
        svg.line((layout.left, height), (layout.right, height), "reference", "");
        svg.text(layout.left + 6.0, height - 6.0, Anchor::Start, "note", name);
    }

    fn draw_series(&self, index: usize, series: &Series, layout: &Layout, svg: &mut Svg) {
        let colour = COLOURS[index % COLOURS.len()];
        let shown = series.dots.iter().filter(|dot| dot.y.is_finite());
        let places: Vec<(f64, f64, &Dot)> =
            shown.map(|dot| (layout.x_of(dot.x) + layout.aside(index), layout.y_of(dot.y), dot)).collect();
        if matches!(self.x, Horizontal::Numbers(_)) {
            svg.path(&places.iter().map(|&(x, y, _)| (x, y)).collect::<Vec<_>>(), colour);
        }
        for &(x, y, dot) in &places {
            if let Some(bar) = dot.deviation.filter(|bar| *bar > 0.0) {
                let (low, high) = (layout.y_of(dot.y - bar), layout.y_of(dot.y + bar));
                svg.line((x, low), (x, high), "bar", colour);
                for end in [low, high] {
                    svg.line((x - 4.0, end), (x + 4.0, end), "bar", colour);
                }
            }
            mark(svg, index, x, y);
        }
    }

    fn draw_legend(&self, layout: &Layout, svg: &mut Svg) {
        for (index, series) in self.series.iter().enumerate() {
            let (x, y) = (layout.right + 22.0, layout.top + 10.0 + LEGEND * index as f64);
            mark(svg, index, x, y);
            svg.text(x + 11.0, y + 4.0, Anchor::Start, "legend", &series.name);
        }
    }
}

/// The dot of a series.
fn mark(svg: &mut Svg, index: usize, x: f64, y: f64) {
    let colour = COLOURS[index % COLOURS.len()];
    if (index / COLOURS.len()).is_multiple_of(2) { svg.circle(x, y, colour) } else { svg.square(x, y, colour) }
}

/// Smallest and largest.
fn span(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

fn draw_axes(layout: &Layout, svg: &mut Svg) {
    for (value, label) in layout.y.ticks() {
        let height = layout.y_of(value);
        svg.line((layout.left, height), (layout.right, height), "grid", "");
        svg.text(layout.left - 8.0, height + 4.0, Anchor::End, "tick", &label);
    }
    svg.line((layout.left, layout.bottom), (layout.right, layout.bottom), "frame", "");
    for (place, label) in layout.x_ticks() {
        svg.line((place, layout.bottom), (place, layout.bottom + 5.0), "frame", "");
        if layout.tilted {
            svg.turned(place + 4.0, layout.bottom + 17.0, -32.0, Anchor::End, "tick", &label);
        } else {
            svg.text(place, layout.bottom + 19.0, Anchor::Middle, "tick", &label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chart, Dot, Horizontal, Series};

    fn chart(x: Horizontal, ys: &[f64]) -> Chart {
        let dots = |shift: f64| {
            let dot = |(x, &y): (usize, &f64)| Dot { x: x as f64 + 1.0, y: y + shift, deviation: Some(0.5) };
            ys.iter().enumerate().map(dot).collect()
        };
        let series =
            vec![Series { name: "a < b".into(), dots: dots(0.0) }, Series { name: "second".into(), dots: dots(1.0) }];
        let reference = Some(("dense".into(), 3.0));
        Chart { title: "What?".into(), x_title: "x".into(), y_title: "y".into(), x, series, reference }
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn every_dot_is_drawn_inside_the_picture_and_text_is_escaped() {
        let numbers = Horizontal::Numbers(vec![1.0, 2.0, 3.0]);
        let svg = chart(numbers, &[4.0, 7.0, 5.0]).to_svg();
        // six dots, two in the legend
        assert_eq!((count(&svg, "<circle"), count(&svg, "<path")), (8, 2));
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"));
        for place in svg.split("cx=\"").skip(1).map(|rest| rest.split('"').next().expect("quoted")) {
            assert!((0.0..=900.0).contains(&place.parse::<f64>().expect("number")), "{place}");
        }
    }

    #[test]
    fn categories_are_not_connected_and_what_is_not_finite_is_left_out() {
        let words = ["none", "one", "two", "three"].map(str::to_owned).to_vec();
        let svg = chart(Horizontal::Categories(words), &[4.0, f64::NAN, 5.0]).to_svg();
        assert_eq!((count(&svg, "<circle"), count(&svg, "<path")), (6, 0));
        assert!(svg.contains(">three</text>") && !svg.contains("NaN"));
    }

    #[test]
    fn a_reference_far_away_is_a_note() {
        let mut far = chart(Horizontal::Numbers(vec![1.0, 2.0, 3.0]), &[4.0, 7.0, 5.0]);
        assert!(far.to_svg().contains("class=\"reference\"") && far.to_svg().contains(">dense</text>"));
        far.reference = Some(("dense".into(), -30.0));
        assert!(!far.to_svg().contains("class=\"reference\"") && far.to_svg().contains(">dense ↓</text>"));
    }

    #[test]
    fn nothing_to_draw_is_an_empty_picture() {
        let mut empty = chart(Horizontal::Numbers(Vec::new()), &[]);
        empty.reference = None;
        assert!(!empty.to_svg().contains("NaN"));
    }
}
