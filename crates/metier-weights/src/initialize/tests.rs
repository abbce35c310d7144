use super::*;
use metier_core::part::Build;

/// Rows like those of an embedding: around a mean that is not zero, some places wider than others.
pub(super) fn known_rows(count: usize, width: usize, salt: u64) -> Rows {
    let seed = Seed::new(salt);
    let (mut means, mut sizes) = (seed.derive("means").at(0), seed.derive("sizes").at(0));
    let shape: Vec<(f64, f64)> = (0..width).map(|_| (0.3 * means.normal(), 0.5 + sizes.unit())).collect();
    let mut stream = seed.at(0);
    let values = (0..count).flat_map(|_| {
        let row: Vec<f32> = shape.iter().map(|(mean, size)| (mean + size * stream.normal()) as f32).collect();
        row
    });
    Rows { values: values.collect(), width }
}

/// What is known of a model with a head or without, and nothing else.
pub(super) fn known<'a>(
    embedding: &'a Rows,
    head: Option<&'a Rows>,
    parts: &'a [Vec<TokenId>],
    lines: &'a Lines,
) -> Known<'a> {
    Known { embedding, head, parts, lines, donor: None, work: None }
}

/// Lines in which tokens of one remainder by 5 stand together.
pub(super) fn text(vocabulary: u64) -> Lines {
    let mut stream = Seed::new(11).at(0);
    let token = |line: u64, stream: &mut metier_core::seed::Stream| stream.below(vocabulary / 5) * 5 + line % 5;
    let line = |line| (0..12).map(|_| token(line, &mut stream) as TokenId).collect();
    Lines::from((0..120).map(line).collect::<Vec<_>>())
}

/// How many of `count` random hidden states give some new token a logit that is above every old one's by more than 1e-6.
fn above(old: &Rows, new: &Rows, count: u64) -> u64 {
    let most = |rows: &Rows, state: &[f64]| {
        let logit = |row: &[f32]| row.iter().zip(state).map(|(x, h)| f64::from(*x) * h).sum::<f64>();
        rows.iter().map(logit).fold(f64::NEG_INFINITY, f64::max)
    };
    (0..count)
        .filter(|number| {
            let mut stream = Seed::new(99).at(*number);
            let state: Vec<f64> = (0..old.width).map(|_| stream.normal()).collect();
            most(new, &state) > most(old, &state) + 1e-6
        })
        .count() as u64
}

/// The paper's property: rows in the hull are never the likeliest of all, whatever the hidden state; rows that leave it are.
#[test]
fn no_new_token_of_the_hull_is_above_all_old_ones() {
    const STATES: u64 = 10_000;
    let (embedding, head) = (known_rows(300, 24, 5), known_rows(300, 24, 6));
    let mut stream = Seed::new(8).at(0);
    let parts: Vec<Vec<TokenId>> =
        (0..100_u64).map(|at| (0..at % 4).map(|_| stream.below(300) as TokenId).collect()).collect();
    let lines = text(400);
    let known = known(&embedding, Some(&head), &parts, &lines);
    let of = |part: Box<dyn Initialize>| {
        let made = part.rows(known, Seed::new(1)).unwrap();
        let new_head = made.head.unwrap();
        assert_eq!((made.embedding.count(), new_head.count()), (100, 100));
        [above(&embedding, &made.embedding, STATES), above(&head, &new_head, STATES)]
    };
    let place = Place::default();
    let focus = Focus { width: 16, ..Focus::default() };
    assert_eq!(of(focus.build(&place).unwrap()), [0, 0], "focus");
    let cw2v = Cw2v { rank: 16, rate: 1e-2, passes: 2, batch: 512, threshold: 0.0, ..Cw2v::default() };
    assert_eq!(of(cw2v.build(&place).unwrap()), [0, 0], "cw2v");
    assert_eq!(of(Mean::default().build(&place).unwrap()), [0, 0], "mean");
    assert_eq!(of(Multivariate::default().build(&place).unwrap()), [0, 0], "multivariate");
    assert_eq!(of(SubwordMean::default().build(&place).unwrap()), [0, 0], "subword_mean");
    let outside = of(Univariate::default().build(&place).unwrap());
    assert!(outside.iter().all(|count| *count >= STATES / 20), "univariate: {outside:?}");
}

#[test]
fn rows_have_the_moments_that_are_said() {
    let embedding = known_rows(200, 6, 9);
    let parts = vec![vec![]; 4000];
    let nothing = Lines::default();
    let known = known(&embedding, None, &parts, &nothing);
    let moments = |rows: &Rows| {
        let mean = rows.mean();
        let covariance = |i: usize, j: usize| {
            let product = |row: &[f32]| (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j]);
            rows.iter().map(product).sum::<f64>() / rows.count() as f64
        };
        (mean.clone(), [covariance(0, 0), covariance(1, 1), covariance(0, 1), covariance(2, 5)])
    };
    let (mean, old) = moments(&embedding);
    for (part, scale, kept) in [
        (Multivariate { scale: 0.25 }.build(&Place::default()).unwrap(), 0.25, 1.0),
        (Univariate::default().build(&Place::default()).unwrap(), 1.0, 0.0),
    ] {
        let made = part.rows(known, Seed::new(3)).unwrap();
        assert!(made.head.is_none());
        let (found_mean, found) = moments(&made.embedding);
        for (a, b) in mean.iter().zip(&found_mean) {
            assert!((a - b).abs() < 0.08, "{mean:?} {found_mean:?}");
        }
        for (at, (old, found)) in old.iter().zip(found).enumerate() {
            let want = old * scale * if at < 2 { 1.0 } else { kept };
            assert!((want - found).abs() < 0.06, "{at}: {found} for {want}");
        }
    }
    let random = Random::default().rows(known, Seed::new(3)).unwrap().embedding;
    let (mean, [first, ..]) = moments(&random);
    assert!(mean.iter().all(|mean| mean.abs() < 0.002) && (first.sqrt() - 0.02).abs() < 0.001, "{mean:?} {first}");
    assert!(Zero::default().rows(known, Seed::new(3)).unwrap().embedding.values.iter().all(|x| x.to_bits() == 0));
}

#[test]
fn parts_are_averaged_as_often_as_they_stand() {
    let embedding = Rows { values: vec![0.0, 0.0, 3.0, 6.0, 9.0, 0.0], width: 2 };
    let parts = vec![vec![1, 1, 2], vec![]];
    let nothing = Lines::default();
    let known = known(&embedding, None, &parts, &nothing);
    let made = SubwordMean::default().rows(known, Seed::new(0)).unwrap();
    assert_eq!(made.embedding.values, [5.0, 4.0, 4.0, 2.0]);
    assert_eq!(made.sources.unwrap(), [vec![(1, 2.0 / 3.0), (2, 1.0 / 3.0)], vec![]]);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let (rows, few) = (known_rows(5, 3, 1), known_rows(4, 3, 1));
    let refused = |known: Known<'_>| Mean::default().rows(known, Seed::new(0)).unwrap_err().to_string();
    let nothing = Lines::default();
    let good = known(&rows, None, &[], &nothing);
    assert!(refused(Known { head: Some(&few), ..good }).contains("it has 4 rows, and the embedding 5"));
    assert!(refused(Known { parts: &[vec![4, 5]], ..good }).contains("new token 0 was written with 5"));
    assert!(
        refused(Known { lines: &Lines::from(vec![vec![1], vec![5]]), ..good }).contains("line 2 has the token 5 of 5")
    );
    assert!(refused(Known { embedding: &Rows::default(), ..good }).contains("no tokens"));
    let nothing = Cw2v::default().rows(good, Seed::new(0)).unwrap_err().to_string();
    assert!(nothing.contains("no token of it stands near another"), "{nothing}");
    let wrong = Cw2v { rank: 0, passes: 0, ..Cw2v::default() }.build(&Place::default()).err().unwrap();
    assert_eq!(wrong.faults.len(), 2);
}

#[test]
fn pages_have_their_headings_and_names_are_in_order() {
    metier_testkit::assert_pages(&records());
}
