//! A report for people.

use std::env;
use std::fmt::Write;
use std::io::{self, IsTerminal};

use ibkr_oauth::doctor::{Finding, Report, Severity};

/// Characters on a line.
const WIDTH: usize = 100;
/// Characters before the texts of a finding.
const INDENT: usize = 9;

/// What is written around a word to make it stand out.
struct Style {
    error: &'static str,
    warning: &'static str,
    note: &'static str,
    end: &'static str,
}

const COLOURED: Style = Style { error: "\x1b[1;31m", warning: "\x1b[1;33m", note: "\x1b[1;36m", end: "\x1b[0m" };
const PLAIN: Style = Style { error: "", warning: "", note: "", end: "" };

/// The report, coloured for a terminal unless `NO_COLOR` asks for none (no-color.org).
pub fn render(report: &Report) -> String {
    let wants_none = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = if io::stdout().is_terminal() && !wants_none { COLOURED } else { PLAIN };
    let mut text = String::new();
    for finding in report.findings() {
        text.push_str(&render_finding(finding, &style));
    }
    text.push_str(&fingerprints(report));
    text.push_str(&verdict(report, &style));
    text
}

fn render_finding(finding: &Finding, style: &Style) -> String {
    let (colour, word) = match finding.severity() {
        Severity::Error => (style.error, "ERROR"),
        Severity::Warning => (style.warning, "WARNING"),
        Severity::Note => (style.note, "NOTE"),
    };
    let label = format!("{colour}{word}{}{:padding$}", style.end, "", padding = INDENT - word.len());
    let (cause, seen) = (wrap(&capitalize(&finding.cause())), wrap(&format!("Seen: {}.", finding.evidence)));
    format!("{label}{cause}.\n{:INDENT$}{seen}\n{:INDENT$}{}\n\n", "", "", wrap(&format!("Do: {}.", finding.remedy())))
}

fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Breaks lines between words, with the indentation of a finding's texts.
fn wrap(text: &str) -> String {
    let (mut wrapped, mut column) = (String::new(), INDENT);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > INDENT && column + 1 + length > WIDTH {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(INDENT));
            column = INDENT;
        } else if column > INDENT {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

fn fingerprints(report: &Report) -> String {
    let mut text = String::new();
    for fingerprint in report.fingerprints() {
        let _ = writeln!(text, "SHA-256 of {}:\n  {}", fingerprint.subject(), fingerprint.sha256);
        let _ = writeln!(text, "  as printed by: {}", fingerprint.command());
    }
    if !text.is_empty() {
        text.push_str("Compare these with the files that you uploaded to the portal.\n\n");
    }
    text
}

fn verdict(report: &Report, style: &Style) -> String {
    let count = |severity| report.findings().iter().filter(|finding| finding.severity() == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let (colour, verdict) = match report.worst() {
        Some(Severity::Error) => (style.error, "No login can work with these credentials as they are."),
        Some(Severity::Warning) => (style.warning, "A login may work with these credentials, or may not."),
        _ => (style.note, "Nothing is wrong with these credentials that can be seen without asking IBKR."),
    };
    format!("{colour}{verdict}{} ({errors} error(s), {warnings} warning(s))\n", style.end)
}
