//! Bars for people: a panel for each question, a bar for each runtime, every panel to its own scale.

use std::fmt::Write;

/// One question: an operation, a size.
#[derive(Debug)]
pub struct Panel {
    /// What was measured.
    pub title: String,
    /// Of everybody.
    pub bars: Vec<Bar>,
}

/// One answer.
#[derive(Debug)]
pub struct Bar {
    /// Whose.
    pub name: String,
    /// The median.
    pub value: f64,
    /// The 99th percentile, as a line behind the bar.
    pub high: Option<f64>,
}

/// The colours, by the order of the names: dark enough for white paper, told apart also by who sees no red or green.
const COLOURS: [&str; 6] = ["#0b5394", "#e69138", "#6aa84f", "#a64d79", "#7f6000", "#999999"];
const LEFT: f64 = 150.0;
const WIDTH: f64 = 520.0;

/// An SVG picture. `unit` stands behind each figure; the ratio to the panel's first bar stands beside it.
#[must_use]
pub fn bars(title: &str, unit: &str, panels: &[Panel]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for bar in panels.iter().flat_map(|panel| &panel.bars) {
        if !names.contains(&bar.name.as_str()) {
            names.push(&bar.name);
        }
    }
    let colour = |name: &str| COLOURS[names.iter().position(|n| *n == name).unwrap_or(0) % COLOURS.len()];
    let (mut y, mut body) = (52.0, String::new());
    for panel in panels {
        // A line that is far longer than all bars would leave nothing of them: it is cut.
        let longest = panel.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let first = panel.bars.first().map_or(1.0, |bar| bar.value);
        let _ = writeln!(body, "<text x=\"16\" y=\"{}\" class=\"t\">{}</text>", y + 13.0, escape(&panel.title));
        for bar in &panel.bars {
            let scale = |value: f64| value.min(longest * 1.25) / (longest * 1.25) * WIDTH;
            let (width, middle, ratio) = (scale(bar.value), y + 8.5, bar.value / first);
            if let Some(high) = bar.high.filter(|high| *high > bar.value) {
                let end = LEFT + scale(high);
                let _ =
                    writeln!(body, "<path d=\"M{LEFT} {middle}H{end:.1}M{end:.1} {}v7\" class=\"w\"/>", middle - 3.5);
            }
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"15\" rx=\"2\" fill=\"{}\"><title>{} {:.3} {unit}</title></rect>",
                colour(&bar.name),
                escape(&bar.name),
                bar.value
            );
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{}\">{} {unit}<tspan class=\"r\"> {ratio:.2} x</tspan></text>",
                LEFT + WIDTH + 12.0,
                y + 12.0,
                figure(bar.value)
            );
            y += 18.0;
        }
        y += 12.0;
    }
    let mut legend = String::new();
    let mut x = LEFT;
    for name in &names {
        let _ = writeln!(
            legend,
            "<rect x=\"{x}\" y=\"28\" width=\"11\" height=\"11\" rx=\"2\" fill=\"{}\"/><text x=\"{}\" y=\"38\">{}</text>",
            colour(name),
            x + 16.0,
            escape(name)
        );
        x += 34.0 + 7.0 * name.len() as f64;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"840\" height=\"{:.0}\" font-family=\"system-ui,sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#222}}.t{{font-weight:600}}.r{{fill:#777}}.w{{stroke:#888;fill:none}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"16\" y=\"18\" font-size=\"14\" class=\"t\">{}</text>\n{legend}{body}\
         <text x=\"16\" y=\"{:.0}\" class=\"r\">bar: median; line: 99th percentile; x: ratio to the first</text>\n</svg>\n",
        y + 24.0,
        escape(title),
        y + 10.0
    )
}

/// Three digits that count.
fn figure(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_every_figure() {
        let bar = |name: &str, value, high| Bar { name: name.to_owned(), value, high };
        let panels = [Panel { title: "a<b".to_owned(), bars: vec![bar("x", 2.0, Some(3.0)), bar("y", 123.0, None)] }];
        let svg = bars("title", "ms", &panels);
        for text in ["a&lt;b", "2.00 ms", "123 ms", "61.50 x", ">x</text>", ">y</text>"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert_eq!(svg.matches("<rect x=\"150\"").count(), 3);
    }
}
