//! The page in a browser: nothing overlaps, nothing is cut, from a telephone to a large screen.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use testbed::report::html;
use testbed::{Result, skip, skippable, wait};

use crate::story::story;

/// Widths in pixels.
const WIDTHS: [u32; 4] = [360, 390, 900, 1600];
/// A browser that needs longer has a problem of its own.
const LIMIT: Duration = Duration::from_secs(120);

/// A browser that can be run without a screen.
fn browser() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            path.split(':')
                .any(|dir| Path::new(dir).join(name).is_file())
        })
        .map(Into::into)
}

/// What a browser makes of a page, in frames of all widths; what is wrong, one a line.
fn looked_at(browser: &str, dir: &Path, page: &str) -> Result<Vec<String>> {
    let script = format!("<script>{}</script></body>", include_str!("look.js"));
    std::fs::write(dir.join("page.html"), page.replace("</body>", &script))?;
    let frames: String = WIDTHS
        .iter()
        .map(|width| format!("<iframe src=\"page.html\" style=\"width:{width}px;height:900px;border:0\"></iframe>"))
        .collect();
    let listen = "<script>const all=[];onmessage=e=>{all.push(e.data);\
                  document.getElementById('told').textContent=JSON.stringify(all)}</script>";
    std::fs::write(
        dir.join("all.html"),
        format!("<!DOCTYPE html><body><pre id=\"told\"></pre>{listen}{frames}</body>"),
    )?;
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=20000",
            "--window-size=1700,4000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("file://{}", dir.join("all.html").display()))
        .env("HOME", dir)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(dir.join("dom.html"))?)
        .stderr(std::fs::File::create(dir.join("log"))?)
        .spawn()?;
    let ended = wait::until("the browser", LIMIT, || child.try_wait().ok().flatten());
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let status = ended?;
    let dom = std::fs::read_to_string(dir.join("dom.html"))?;
    let told = dom
        .split("<pre id=\"told\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next());
    let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let told = told.filter(|told| !told.is_empty());
    let told =
        told.ok_or_else(|| anyhow::anyhow!("{browser} says nothing ({status}): {}", log()))?;
    let told = told
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let told: Vec<Vec<String>> = serde_json::from_str(&told)?;
    anyhow::ensure!(
        told.len() == WIDTHS.len(),
        "{} of {} frames",
        told.len(),
        WIDTHS.len()
    );
    Ok(told.concat())
}

#[test]
fn in_a_browser_nothing_overlaps_and_nothing_is_cut() -> Result<()> {
    skippable(|| {
        let browser = browser().ok_or_else(|| skip("no chromium to look with"))?;
        let dir = std::env::temp_dir().join(format!("hamp-look-{}", std::process::id()));
        for (number, story) in [
            story(20, 100, ""),
            story(120, 50, " of-a-long-name".repeat(4).as_str()),
        ]
        .into_iter()
        .enumerate()
        {
            let dir = dir.join(number.to_string());
            std::fs::create_dir_all(&dir)?;
            let wrong = looked_at(&browser, &dir, &html::page(&story))?;
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
        std::fs::remove_dir_all(dir)?;
        Ok(())
    })
}

#[test]
fn a_browser_sees_what_overlaps() -> Result<()> {
    skippable(|| {
        let browser = browser().ok_or_else(|| skip("no chromium to look with"))?;
        let dir = std::env::temp_dir().join(format!("hamp-overlap-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let page = html::page(&story(20, 100, ""));
        let broken = page.replace(
            "</main>",
            "<svg width=\"90\" height=\"20\"><text x=\"0\" y=\"15\">on top</text><text x=\"9\" y=\"15\">of it</text></svg>\
             <p style=\"width:2000px\">wide</p></main>",
        );
        let wrong = looked_at(&browser, &dir, &broken)?.join("\n");
        assert!(wrong.contains("\"of it\" meets \"on top\""), "{wrong}");
        assert!(wrong.contains("the page scrolls"), "{wrong}");
        std::fs::remove_dir_all(dir)?;
        Ok(())
    })
}
