//! Colours, and everything else about looks.
//!
//! Members have the colours of Okabe and Ito, which people with any kind of colour vision tell
//! apart; no meaning rests on colour alone: members have lanes of their own, services have shapes,
//! what is lost is a cross.

/// So many colours there are for members.
pub(crate) const COLOURS: usize = 6;

/// Width of a character in pictures, in pixels: they use fonts whose characters are 0.6 em wide,
/// in 11 px, rounded up.
pub(crate) const CHAR: f64 = 6.7;

/// Of pictures, in the page and as files of their own. It has no `<` and no `&`, so it can stand in
/// XML as it is.
pub(crate) const PICTURES: &str = "\
:root{--bg:#fff;--fg:#1a1d21;--dim:#586069;--line:#c9ced4;--soft:#eef1f4;--card:#fff;\
--m0:#0072b2;--m1:#e69f00;--m2:#009e73;--m3:#cc79a7;--m4:#56b4e9;--m5:#f0e442;--bad:#b84a00;\
color-scheme:light dark}\
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e8eb;--dim:#a3abb4;--line:#454c55;\
--soft:#22272e;--card:#1b1f25;--m0:#56b4e9;--m1:#e69f00;--m2:#00b386;--m3:#d98bb6;--m4:#3a8fd0;\
--m5:#f0e442;--bad:#ff8a3d}}\
svg{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}\
svg text{fill:var(--fg)}svg .dim{fill:var(--dim)}svg .b{font-weight:700}\
svg .end{text-anchor:end}svg .mid{text-anchor:middle}\
svg .halo{paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}\
svg .bg,svg text.onbus{fill:var(--bg)}\
svg .rule{stroke:var(--line);fill:none}svg .lane{fill:none;stroke:var(--line)}\
svg .alive{fill:var(--soft)}svg .hatch{fill:url(#hatch)}svg .stripe{stroke:var(--bad);stroke-width:1.5}\
svg .mark{stroke:var(--fg);stroke-dasharray:2 3}svg .fault{stroke:var(--bad);stroke-width:2}\
svg .card{fill:var(--card);stroke:var(--dim)}svg .router{stroke-width:2.5}\
svg .wire{fill:none;stroke:var(--dim);stroke-width:1.5}\
svg .bus{fill:var(--fg)}svg .site{fill:none;stroke:var(--dim);stroke-dasharray:6 4}\
svg .life{stroke:var(--line)}svg .gone{stroke-dasharray:3 4}\
svg .from{fill:var(--bg);stroke:var(--fg);stroke-width:1.4}svg .go{stroke:var(--fg);stroke-width:1.4;fill:none}svg .tip{fill:var(--fg)}\
svg .m0{fill:var(--m0)}svg .m1{fill:var(--m1)}svg .m2{fill:var(--m2)}\
svg .m3{fill:var(--m3)}svg .m4{fill:var(--m4)}svg .m5{fill:var(--m5)}\
svg .shape{stroke:var(--fg);stroke-width:.6}\
svg .bad{stroke:var(--bad);stroke-width:2;fill:none}svg .sign{fill:var(--fg)}";

/// Of the page.
pub(crate) const PAGE: &str = "\
*{box-sizing:border-box}html{background:var(--bg);color:var(--fg)}\
body{margin:0 auto;padding:1rem clamp(.75rem,3vw,2rem) 3rem;max-width:84rem;\
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
h1{font-size:1.9rem;line-height:1.15;margin:.6rem 0 .3rem}h2{font-size:1.35rem;margin:2.4rem 0 .6rem;\
padding-top:.6rem;border-top:1px solid var(--line)}h3{font-size:1.08rem;margin:1.6rem 0 .3rem}\
h1,h2,h3,p,li,dd,summary{overflow-wrap:anywhere}p{margin:.4rem 0;max-width:75ch}\
a{color:inherit}nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;padding:0;margin:.8rem 0}\
.verdict{display:inline-block;font-weight:700;padding:.1rem .6rem;border:2px solid;border-radius:.4rem}\
.failed{border-style:double;border-width:4px;color:var(--bad)}\
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.6rem 1.2rem;margin:1rem 0}\
dt{color:var(--dim);font-size:.85rem}dd{margin:0}\
figure{margin:.6rem 0 1.2rem}figcaption{color:var(--dim);font-size:.88rem;margin:.3rem 0;max-width:85ch}\
.scroll{overflow-x:auto;max-width:100%}.scroll:focus-visible,.plot:focus-visible{outline:2px solid var(--m0)}\
.scroll svg{display:block}\
.row{display:flex;align-items:flex-start}.row .labels{flex:none;display:block}\
.plot{flex:1;min-width:0;overflow-x:auto}.plot .chart{display:block;width:max(100%,var(--w))}\
.zoom{position:absolute;opacity:0}.zoom+label{display:inline-block;border:1px solid var(--dim);\
border-radius:.3rem;padding:.1rem .7rem;margin:0 .3rem .5rem 0;cursor:pointer;font-size:.88rem}\
.zoom:checked+label{background:var(--fg);color:var(--bg)}.zoom:focus-visible+label{outline:2px solid var(--m0);outline-offset:2px}\
.z4:checked~.row .chart{width:max(400%,4*var(--w))}.z16:checked~.row .chart{width:max(1600%,16*var(--w))}\
.t4,.t16{display:none}.z4:checked~.row .t4,.z16:checked~.row .t16{display:inline}\
.z4:checked~.row .t1,.z16:checked~.row .t1{display:none}\
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:.2rem 0 .6rem;font-size:.85rem;color:var(--dim)}\
.legend li{display:flex;align-items:center;gap:.4rem}.legend svg{flex:none}\
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}\
caption{text-align:left;color:var(--dim);padding:.2rem 0}\
th,td{padding:.22rem .7rem .22rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}\
td.n,th.n{text-align:right}td.w{white-space:normal;min-width:16rem}thead th{border-bottom-color:var(--fg)}\
.no{font-weight:700;color:var(--bad)}\
pre,code{font:.85rem/1.45 ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}\
pre{background:var(--soft);padding:.6rem .8rem;border-radius:.4rem;overflow-x:auto;margin:.4rem 0}\
code{overflow-wrap:anywhere}pre code{overflow-wrap:normal}\
details{margin:.5rem 0}summary{cursor:pointer;width:fit-content;max-width:100%}section>details>summary{font-weight:600}details ol{font-size:.88rem}\
@page{size:landscape;margin:12mm}@media print{body{max-width:none;font-size:11pt}.zoom,.zoom+label,nav{display:none}details{break-inside:avoid}\
figure,tr{break-inside:avoid}.scroll,.plot{overflow:visible}.plot .chart{width:100%}.scroll svg{max-width:100%;height:auto}a{text-decoration:none}}";

/// Shapes and patterns that pictures refer to. The `use` element has the class: rules do not reach
/// into what it copies.
pub(crate) const SHAPES: &str = "<defs>\
<pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<line class=\"stripe\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"7\" opacity=\".45\"/></pattern>\
<circle id=\"s0\" r=\"3.2\"/><rect id=\"s1\" x=\"-2.8\" y=\"-2.8\" width=\"5.6\" height=\"5.6\"/>\
<path id=\"s2\" d=\"M0-3.6 3.4 2.8H-3.4Z\"/><path id=\"cross\" d=\"M-3.5-3.5 3.5 3.5M-3.5 3.5 3.5-3.5\"/>\
<path id=\"said\" d=\"M0-5 5 4H-5Z\"/><path id=\"event\" d=\"M0-6 6 0 0 6-6 0Z\"/></defs>";

#[cfg(test)]
mod tests {
    use super::PICTURES;

    /// Linear light of red, green and blue.
    type Light = [f64; 3];

    /// What a custom property is in the light (0) or dark (1) palette.
    fn colour(name: &str, palette: usize) -> Light {
        let rule = PICTURES
            .split(":root{")
            .nth(palette + 1)
            .expect("a palette");
        let value = rule.split(&format!("--{name}:#")).nth(1).expect("a colour");
        let digits: String = value.chars().take_while(char::is_ascii_hexdigit).collect();
        let wide = if digits.len() == 3 {
            digits.chars().flat_map(|c| [c, c]).collect()
        } else {
            digits
        };
        let value = u32::from_str_radix(&wide, 16).expect("hexadecimal");
        [16, 8, 0].map(|shift| {
            let part = f64::from(value >> shift & 0xff) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        })
    }

    /// Contrast by WCAG 2.1: 1 to 21.
    fn contrast(a: Light, b: Light) -> f64 {
        let [a, b] = [a, b].map(|c| 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] + 0.05);
        a.max(b) / a.min(b)
    }

    /// What a dichromat sees, by the matrices of Machado, Oliveira and Fernandes (2009).
    const EYES: [(&str, [[f64; 3]; 3]); 3] = [
        ("any", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protanopic",
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
        ),
        (
            "deuteranopic",
            [
                [0.367_322, 0.860_646, -0.227_968],
                [0.280_085, 0.672_501, 0.047_413],
                [-0.011_820, 0.042_940, 0.968_881],
            ],
        ),
    ];

    /// Distance of two colours in OKLab, in which 0.02 is about the least that is noticed.
    fn distance(a: Light, b: Light) -> f64 {
        let lab = |[r, g, b]: Light| {
            let l = (0.412_221_5 * r + 0.536_332_5 * g + 0.051_446 * b)
                .max(0.0)
                .cbrt();
            let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_397 * b)
                .max(0.0)
                .cbrt();
            let s = (0.088_302_5 * r + 0.281_718_8 * g + 0.629_978_7 * b)
                .max(0.0)
                .cbrt();
            [
                0.210_454_3 * l + 0.793_617_8 * m - 0.004_072 * s,
                1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
                0.025_904 * l + 0.782_771_8 * m - 0.808_675_8 * s,
            ]
        };
        let (a, b) = (lab(a), lab(b));
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f64>()
            .sqrt()
    }

    #[test]
    fn texts_can_be_read_and_lines_seen() {
        for palette in 0..2 {
            for ground in ["bg", "soft", "card"] {
                for (name, least) in [("fg", 7.0), ("dim", 4.5), ("bad", 4.5)] {
                    let found = contrast(colour(name, palette), colour(ground, palette));
                    assert!(found >= least, "{name} on {ground}, {palette}: {found:.2}");
                }
            }
        }
    }

    #[test]
    fn members_are_told_apart_by_any_eyes() {
        for palette in 0..2 {
            for (eyes, matrix) in EYES {
                let seen = |name: &str| {
                    let light = colour(name, palette);
                    matrix.map(|row| row.iter().zip(light).map(|(m, c)| m * c).sum::<f64>())
                };
                let members = ["m0", "m1", "m2", "m3", "m4", "m5"];
                for (index, a) in members.iter().enumerate() {
                    for b in &members[..index] {
                        let found = distance(seen(a), seen(b));
                        assert!(found > 0.06, "{a} and {b}, {palette}, {eyes}: {found:.3}");
                    }
                }
            }
        }
    }
}
