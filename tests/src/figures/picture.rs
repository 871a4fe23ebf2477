//! Pictures of bars, as SVG: columns of panels of bars.

use std::fmt::{self, Display, Formatter};

/// Of a column, in pixels.
const WIDTH: usize = 480;
const BAR: usize = 18;
const HEAD: usize = 34;
/// Where bars begin, and how long the longest of a panel is.
const LEFT: usize = 140;
const LONGEST: f64 = 200.0;
const DARK: &str = "#1f5fbf";
const LIGHT: &str = "#a9b4c2";

/// A value.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Left of it.
    pub label: String,
    /// Its length, in what all bars of its panel have.
    pub value: f64,
    /// Right of it.
    pub text: String,
    /// Whether it stands out.
    pub is_ours: bool,
}

/// Values that are compared with each other.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Above them.
    pub title: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// Panels below each other.
#[derive(Clone, Debug)]
pub struct Column {
    /// Above them.
    pub title: String,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

impl Panel {
    fn height(&self) -> usize {
        HEAD + self.bars.len() * BAR + 14
    }
}

/// An SVG of columns side by side.
#[must_use]
pub fn draw(columns: &[Column]) -> String {
    Picture(columns).to_string()
}

struct Picture<'a>(&'a [Column]);

impl Display for Picture<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let height = |column: &Column| HEAD + column.panels.iter().map(Panel::height).sum::<usize>();
        let (width, height) = (WIDTH * self.0.len(), self.0.iter().map(height).max().unwrap_or(HEAD));
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        )?;
        for (number, column) in self.0.iter().enumerate() {
            let (x, mut y) = (number * WIDTH + 10, HEAD);
            writeln!(f, "<text x=\"{x}\" y=\"22\" font-size=\"15\">{}</text>", column.title)?;
            for panel in &column.panels {
                panel_at(f, panel, x, y)?;
                y += panel.height();
            }
        }
        writeln!(f, "</svg>")
    }
}

fn panel_at(f: &mut Formatter<'_>, panel: &Panel, x: usize, y: usize) -> fmt::Result {
    writeln!(f, "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\">{}</text>", y + 22, panel.title)?;
    let most = panel.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    for (line, bar) in panel.bars.iter().enumerate() {
        let (y, left, length) = (y + HEAD + line * BAR, x + LEFT, bar.value / most * LONGEST);
        let (base, height, color) = (y + 11, BAR - 5, if bar.is_ours { DARK } else { LIGHT });
        writeln!(f, "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>", left - 6, bar.label)?;
        writeln!(f, "<rect x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{color}\"/>")?;
        writeln!(f, "<text x=\"{:.1}\" y=\"{base}\">{}</text>", left as f64 + length + 5.0, bar.text)?;
    }
    Ok(())
}
