//! Plots as plain SVG: dots on a logarithmic scale, lines over the number of keys.

use std::fmt::Write as _;

use crate::report::Results;
use crate::{ENGINES, work};

const COLOURS: [&str; 7] = [
    "#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#7f7f7f",
];
const WIDTH: f64 = 900.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 40.0;
const ROW: f64 = 20.0;
const TOP: f64 = 50.0;
/// Ratios beyond are drawn at the rim.
const DECADES: f64 = 2.0;

/// For each workload the engines' rates relative to the first engine's.
pub fn rates(results: &Results, keys: u64) -> String {
    let first = ENGINES[0].0;
    let rows: Vec<_> = work::ALL
        .iter()
        .filter_map(|(_, work, description, _)| {
            results
                .get(keys, work, first)
                .map(|ours| (*work, *description, ours.rate()))
        })
        .collect();
    let height = TOP + ROW * (rows.len() as f64 + 1.0);
    let mut svg = begin(height);
    let x = |ratio: f64| {
        let at = ratio.log10().clamp(-DECADES, DECADES);
        LEFT + (at + DECADES) / (2.0 * DECADES) * (WIDTH - LEFT - RIGHT)
    };
    for (label, ratio) in [
        ("1/100", 0.01),
        ("1/10", 0.1),
        ("1", 1.0),
        ("10x", 10.0),
        ("100x", 100.0),
    ] {
        line(
            &mut svg,
            (x(ratio), TOP - 5.0),
            (x(ratio), height - ROW),
            "#ddd",
        );
        text(&mut svg, (x(ratio), height - 5.0), "middle", label);
    }
    legend(&mut svg);
    for (row, (work, description, ours)) in rows.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        text(&mut svg, (LEFT - 10.0, y + 4.0), "end", description);
        line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y), "#f0f0f0");
        for ((engine, _), colour) in ENGINES.iter().zip(COLOURS).rev() {
            if let Some(measured) = results.get(keys, work, engine) {
                dot(&mut svg, (x(measured.rate() / ours), y), colour);
            }
        }
    }
    end(svg)
}

/// Time of one operation of `work` over the number of keys, both logarithmic.
pub fn growth(results: &Results, work: &str) -> String {
    let keys: Vec<_> = results.0.keys().copied().collect();
    let lines: Vec<Vec<(u64, f64)>> = ENGINES
        .iter()
        .map(|(engine, _)| {
            keys.iter()
                .filter_map(|&keys| Some((keys, 1e6 / results.get(keys, work, engine)?.rate())))
                .collect()
        })
        .collect();
    let height = 400.0;
    let mut svg = begin(height);
    legend(&mut svg);
    let times = || lines.iter().flatten().map(|(_, micros)| micros.log10());
    let (low, high) = (
        times().fold(f64::MAX, f64::min),
        times().fold(f64::MIN, f64::max),
    );
    let scale = |value: f64, low: f64, high: f64| (value - low) / (high - low).max(1e-9);
    let log = |keys: u64| (keys as f64).log10();
    let ends = (
        keys.first().copied().map_or(0.0, log),
        keys.last().copied().map_or(1.0, log),
    );
    let x = |keys: u64| 80.0 + scale(log(keys), ends.0, ends.1) * (WIDTH - 160.0);
    let y = |micros: f64| height - 40.0 - scale(micros.log10(), low, high) * (height - TOP - 60.0);
    for &keys in &keys {
        text(
            &mut svg,
            (x(keys), height - 10.0),
            "middle",
            &format!("{keys} keys"),
        );
    }
    for (points, colour) in lines.iter().zip(COLOURS) {
        for pair in points.windows(2) {
            line(
                &mut svg,
                (x(pair[0].0), y(pair[0].1)),
                (x(pair[1].0), y(pair[1].1)),
                colour,
            );
        }
        for &(keys, micros) in points {
            dot(&mut svg, (x(keys), y(micros)), colour);
            text(
                &mut svg,
                (x(keys), y(micros) - 8.0),
                "middle",
                &format!("{micros:.2} µs"),
            );
        }
    }
    end(svg)
}

fn begin(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

fn end(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    for (at, ((engine, _), colour)) in ENGINES.iter().zip(COLOURS).enumerate() {
        let x = 40.0 + 110.0 * at as f64;
        dot(svg, (x, 20.0), colour);
        text(svg, (x + 10.0, 24.0), "start", engine);
    }
}

// Writing to a string cannot fail.
fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn dot(svg: &mut String, at: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>",
        at.0, at.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>",
        at.0, at.1
    );
}
