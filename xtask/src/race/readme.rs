//! `bench/README.md`: the receipts as one table.

use super::receipt::{Receipt, best};
use std::fmt::Write as _;

/// Where the page is.
pub const PATH: &str = "bench/README.md";

const HEAD: &str = "\
# Races

Generated from `receipts/` by `cargo xtask race`; do not edit. metier and its peers do the same work on the same machine,
taking turns in one run; figures are medians of the rounds.

*Ratio* is our rate by that of the fastest peer: above 1 metier is faster. *Memory* is our peak by that of the peer that needs
least, each over the whole life of its process up to the last step, loading and compiling included: below 1 metier needs less.
*Of the limit* is how much we reach of what `metier bench` measured as the machine's most.

";

/// The page for these receipts.
pub fn text(receipts: &[Receipt]) -> String {
    let mut page = HEAD.to_owned();
    if receipts.is_empty() {
        page.push_str("There is no receipt yet: `cargo xtask race` lists the races.\n");
        return page;
    }
    page.push_str("| race | ours | best peer | ratio | memory | of the limit | date | machine |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for receipt in receipts {
        let peer = best(&receipt.peers)
            .map(|peer| format!("{} {}, {} {}", peer.name, peer.version, figure(peer.median), peer.unit));
        let _ = writeln!(
            page,
            "| [{race}](receipts/{race}.json) | {ours} {unit} | {peer} | {speed:.2} | {memory:.2} | {share:.0} % | {date} | {cpu}, {cores} cores |",
            race = receipt.race,
            ours = figure(receipt.ours.median),
            unit = receipt.ours.unit,
            peer = peer.unwrap_or_default(),
            speed = receipt.ratio_to_best_peer,
            memory = receipt.memory_ratio,
            share = receipt.limit.share * 100.0,
            date = receipt.date,
            cpu = receipt.machine.cpu,
            cores = receipt.machine.cores,
        );
    }
    page
}

/// A rate for reading: thousands apart, decimals only where it is small.
fn figure(rate: f64) -> String {
    if rate < 100.0 {
        return format!("{rate:.1}");
    }
    let digits = format!("{rate:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::receipt::tests::good;
    use super::*;

    #[test]
    fn the_page_has_a_row_for_each_receipt() {
        let page = text(&[good()]);
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        assert_eq!(
            rows,
            ["| [train-s](receipts/train-s.json) | 6,000 tokens/s | PyTorch bf16 compiled 2.0, 5,000 tokens/s \
              | 1.20 | 0.25 | 61 % | 2026-01-31 | Some Processor (family 6, model 207), 2 cores |"]
        );
        assert!(text(&[]).ends_with("There is no receipt yet: `cargo xtask race` lists the races.\n"));
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(999.6), "1,000");
        assert_eq!(figure(123.0), "123");
        assert_eq!(figure(12.34), "12.3");
    }
}
