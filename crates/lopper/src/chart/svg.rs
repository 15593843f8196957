//! The few elements of SVG that a chart needs.

/// Where text stands relative to its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture in the making. Places are pixels from the upper left corner.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

const STYLE: &str = "\
text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #333333; }
.title { font-size: 15px; font-weight: 600; fill: #111111; }
.axis { font-size: 13px; }
.tick { font-size: 12px; fill: #555555; }
.legend { font-size: 12px; }
.note { font-size: 12px; font-style: italic; fill: #555555; }
.grid { stroke: #e4e4e4; stroke-width: 1; }
.frame { stroke: #888888; stroke-width: 1; }
.bar { stroke-width: 1.4; }
.reference { stroke: #777777; stroke-width: 1.4; stroke-dasharray: 6 4; }";

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A line of a class of the style; `colour` may be empty.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str, colour: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let stroke = if colour.is_empty() { String::new() } else { format!(" stroke=\"{colour}\"") };
        self.body +=
            &format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"{stroke}/>\n");
    }

    /// Places connected by straight lines; none of fewer than two.
    pub fn path(&mut self, places: &[(f64, f64)], colour: &str) {
        if places.len() > 1 {
            let steps: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            self.body += &format!(
                "<path d=\"M {}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\n",
                steps.join(" L ")
            );
        }
    }

    /// A dot.
    pub fn circle(&mut self, x: f64, y: f64, colour: &str) {
        self.body += &format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\" stroke=\"#ffffff\" stroke-width=\"1.2\"/>\n"
        );
    }

    /// Another dot.
    pub fn square(&mut self, x: f64, y: f64, colour: &str) {
        let (x, y) = (x - 4.0, y - 4.0);
        self.body += &format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"8\" height=\"8\" fill=\"{colour}\" stroke=\"#ffffff\"/>\n"
        );
    }

    /// Text of a class of the style.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        self.body += &format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\" class=\"{class}\">{}</text>\n",
            anchor.name(),
            escape(text)
        );
    }

    /// Text turned clockwise about its place.
    pub fn turned(&mut self, x: f64, y: f64, degrees: f64, anchor: Anchor, class: &str, text: &str) {
        self.body += &format!(
            "<text transform=\"translate({x:.1} {y:.1}) rotate({degrees})\" text-anchor=\"{}\" class=\"{class}\">{}</text>\n",
            anchor.name(),
            escape(text)
        );
    }

    /// The file.
    pub fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
             <style>\n{STYLE}\n</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
