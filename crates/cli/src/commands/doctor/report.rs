//! A report for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use ibkr_oauth::doctor::{Finding, Report, Severity};
use textwrap::{Options, WordSplitter, fill};

/// Characters on a line.
const WIDTH: usize = 100;
/// What stands before the texts of a finding, below the word that says how bad it is.
const INDENT: &str = "         ";

/// Returns the report, with colours, which are taken out where nobody wants them.
pub fn in_words(report: &Report) -> String {
    let mut text: String = report.findings().iter().map(finding).collect();
    text.push_str(&fingerprints(report));
    text.push_str(&verdict(report));
    text
}

fn style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Note => AnsiColor::Cyan,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}

fn finding(finding: &Finding) -> String {
    let (style, word) = (style(finding.severity()), finding.severity().name().to_uppercase());
    let texts = [
        format!("{}.", capitalized(&finding.cause())),
        format!("Seen: {}.", finding.evidence),
        format!("Do: {}.", finding.remedy()),
    ];
    let texts = texts.map(|text| wrapped(&text)).join("\n");
    // The first line's indentation makes room for the word.
    let rest = texts.get(word.len()..).unwrap_or_default();
    format!("{style}{word}{style:#}{rest}\n\n")
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Breaks lines between words, and nowhere else: a name or a command stays whole.
fn wrapped(text: &str) -> String {
    let options = Options::new(WIDTH).initial_indent(INDENT).subsequent_indent(INDENT).break_words(false);
    fill(text, options.word_splitter(WordSplitter::NoHyphenation))
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

fn verdict(report: &Report) -> String {
    let count = |severity| report.findings().iter().filter(|finding| finding.severity() == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let verdict = match report.worst() {
        Some(Severity::Error) => "No login can work with these credentials as they are.",
        Some(Severity::Warning) => "A login may work with these credentials, or may not.",
        _ => "Nothing is wrong with these credentials that can be seen without asking IBKR.",
    };
    let style = style(report.worst().unwrap_or(Severity::Note));
    format!("{style}{verdict}{style:#} ({errors} error(s), {warnings} warning(s))")
}
