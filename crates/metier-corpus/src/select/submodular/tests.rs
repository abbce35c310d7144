use super::*;
use metier_testkit::{assert_close, golden, hashed};

const FUNCTIONS: [(&str, Function); 4] = [
    ("facility_location", Function::FacilityLocation),
    ("graph_cut", Function::GRAPH_CUT),
    ("log_det", Function::LOG_DET),
    ("disparity_sum", Function::DisparitySum),
];

/// Rows that `fixtures/reference/submodular.py` makes too; every third kernel has no negative similarity.
fn features(number: usize, size: usize, dimension: usize) -> Features {
    let numbers = hashed::even(&format!("kernel {number}")).take(size * dimension);
    let values = numbers.map(|value| if number.is_multiple_of(3) { value.abs() as f32 } else { value as f32 });
    Features::new(values.collect(), dimension).unwrap()
}

fn kernel(number: usize, size: usize, dimension: usize) -> Kernel {
    Kernel::cosine(&features(number, size, dimension), &(0..size as u32).collect::<Vec<_>>())
}

fn seed() -> Seed {
    Seed::new(3)
}

/// What rows add when they are picked in an order, and by how much the best at each step is better.
fn followed(kernel: &Kernel, function: Function, order: &[u32]) -> (Vec<f32>, f64) {
    let mut gains = function.gains(kernel);
    let mut left: Vec<usize> = (0..kernel.size()).collect();
    let (mut found, mut better) = (Vec::new(), f64::MIN);
    for row in order {
        let row = *row as usize;
        let best = left.iter().map(|row| gains.gain(*row)).fold(f64::MIN, f64::max);
        found.push(gains.gain(row) as f32);
        better = better.max(best - gains.gain(row));
        left.retain(|other| *other != row);
        gains.add(row);
    }
    (found, better)
}

#[test]
fn gains_are_those_of_submodlib_and_apricot() {
    let golden = golden::read("submodular.json");
    for (number, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
        let [size, dimension] = ["size", "dimension"].map(|key| case[key].as_u64().unwrap() as usize);
        let kernel = kernel(number, size, dimension);
        for (name, function) in FUNCTIONS.into_iter().chain([("apricot", Function::FacilityLocation)]) {
            let what = format!("{name} of kernel {number}");
            if case[name].is_null() {
                // Apricot takes no kernel with numbers of both signs.
                assert!(name == "apricot" && !number.is_multiple_of(3), "{what}");
                continue;
            }
            let expected = golden::numbers(&case[name]["gains"]);
            // Its order, which decides between rows that add the same: what rows add in it, and that none would add more.
            let (gains, better) = followed(&kernel, function, &golden::ids(&case[name]["order"]));
            assert_close(&what, &gains, &expected, 1e-5, 1e-6);
            assert!(better < 1e-5, "{what}: {better} more is possible");
        }
    }
}

#[test]
fn lazy_is_naive_to_the_bit_and_the_whole_order_is_a_permutation() {
    for number in 0..12 {
        let kernel = kernel(number, 20 + 9 * number, 2 + number);
        for (name, function) in FUNCTIONS {
            let order = |optimizer| greedy(function.gains(&kernel), optimizer, kernel.size(), seed());
            let naive = order(Optimizer::Naive);
            assert_eq!(naive, order(Optimizer::Lazy), "{name} of kernel {number}");
            for picked in [naive, order(Optimizer::STOCHASTIC)] {
                let mut rows = picked.order;
                rows.sort_unstable();
                assert_eq!(rows, (0..kernel.size()).collect::<Vec<_>>());
            }
        }
    }
}

/// What a set is worth, by the definition.
fn worth(kernel: &Kernel, function: Function, set: &[usize]) -> f64 {
    let s = |i: usize, j: usize| f64::from(kernel.row(i)[j]);
    let pairs =
        |of: &dyn Fn(usize, usize) -> f64| set.iter().flat_map(|i| set.iter().map(move |j| of(*i, *j))).sum::<f64>();
    match function {
        Function::FacilityLocation => {
            (0..kernel.size()).map(|i| set.iter().map(|j| s(i, *j)).fold(0.0, f64::max)).sum()
        }
        Function::GraphCut { lambda } => {
            let all: f64 = (0..kernel.size()).flat_map(|i| set.iter().map(move |j| s(i, *j))).sum();
            all - lambda * pairs(&s)
        }
        Function::DisparitySum => pairs(&|i, j| if i == j { 0.0 } else { 1.0 - s(i, j) }) / 2.0,
        Function::LogDet { lambda } => {
            let mut rows: Vec<Vec<f64>> = set
                .iter()
                .map(|i| set.iter().map(|j| s(*i, *j) + if i == j { lambda } else { 0.0 }).collect())
                .collect();
            let mut sum = 0.0;
            for at in 0..rows.len() {
                sum += rows[at][at].ln();
                let (above, below) = rows.split_at_mut(at + 1);
                for row in below {
                    let factor = row[at] / above[at][at];
                    for (value, pivot) in row.iter_mut().zip(&above[at]).skip(at) {
                        *value -= factor * pivot;
                    }
                }
            }
            sum
        }
    }
}

#[test]
fn gains_are_differences_and_greedy_reaches_its_bound() {
    for number in 0..20 {
        let kernel = kernel(number, 12, 3);
        for (name, function) in FUNCTIONS {
            let picked = greedy(function.gains(&kernel), Optimizer::Lazy, 4, seed());
            for (at, gain) in picked.gains.iter().enumerate() {
                let step =
                    worth(&kernel, function, &picked.order[..=at]) - worth(&kernel, function, &picked.order[..at]);
                assert!((gain - step).abs() < 1e-9, "{name}: {gain} and {step}");
            }
            // Monotone ones: facility location, and the log-determinant with λ = 1.
            if !matches!(function, Function::FacilityLocation | Function::LogDet { .. }) {
                continue;
            }
            let sets = (0_u32..1 << 12).filter(|set| set.count_ones() == 4);
            let best = sets
                .map(|set| worth(&kernel, function, &(0..12).filter(|row| set >> row & 1 == 1).collect::<Vec<_>>()))
                .fold(f64::MIN, f64::max);
            let reached = worth(&kernel, function, &picked.order);
            let bound = (1.0 - (-1.0_f64).exp()) * best;
            assert!(reached >= bound && reached <= best + 1e-9, "{name} of kernel {number}: {reached}, best {best}");
        }
    }
}

#[test]
fn beside_a_set_what_it_has_adds_nothing() {
    let values: Vec<f32> = hashed::even("beside").take(30 * 6).map(|value| value as f32).collect();
    // The first five rows are the set outside, and copies of two of them are among those to choose from.
    let core = Features::new(values[..5 * 6].to_vec(), 6).unwrap();
    let pool = Features::new([&values[6..18], &values[5 * 6..]].concat(), 6).unwrap();
    let nearest = pool.nearest(&core);
    assert!(nearest[..2].iter().all(|similar| (similar - 1.0).abs() < 1e-6));
    let rows: Vec<u32> = (0..pool.rows() as u32).collect();
    let (kernel, outside) = (Kernel::cosine(&pool, &rows), |row: usize| f64::from(nearest[row]).max(0.0));
    let picked = greedy(Gains::beside(&kernel, nearest.iter().copied()), Optimizer::Lazy, rows.len(), seed());
    for (at, gain) in picked.gains.iter().enumerate() {
        let worth = |set: &[usize]| -> f64 {
            let near = |i: usize| set.iter().map(|j| f64::from(kernel.row(i)[*j])).fold(outside(i), f64::max);
            (0..kernel.size()).map(near).sum()
        };
        let step = worth(&picked.order[..=at]) - worth(&picked.order[..at]);
        assert!((gain - step).abs() < 1e-9, "{gain} and {step}");
    }
    assert!(picked.gains[0] > 0.1 && picked.order[..10].iter().all(|row| *row > 1), "{:?}", picked.order);
    let settings = Settings { function: Function::LOG_DET, ..Settings::default() };
    let part = parts(&pool, &settings, Some(&nearest), seed(), &|| Ok(())).unwrap().remove(0);
    let sums = [&part.gains, &picked.gains].map(|gains| gains.iter().sum::<f64>());
    assert!((sums[0] - sums[1]).abs() < 1e-9, "{sums:?}");
}

#[test]
fn drawing_candidates_loses_little_in_the_mean() {
    let kernel = kernel(1, 200, 8);
    let sum = |optimizer, seed| {
        greedy(Function::FacilityLocation.gains(&kernel), optimizer, 20, Seed::new(seed)).gains.iter().sum::<f64>()
    };
    let exact = sum(Optimizer::Lazy, 0);
    let mean = (0..20).map(|seed| sum(Optimizer::STOCHASTIC, seed)).sum::<f64>() / 20.0;
    assert!(mean < exact && mean > (1.0 - (-1.0_f64).exp() - 0.1) * exact, "{mean} of {exact}");
    assert!((sum(Optimizer::STOCHASTIC, 1) - sum(Optimizer::STOCHASTIC, 2)).abs() > 1e-9);
}

#[test]
fn weights_are_a_taylor_softmax() {
    let weights = taylor_softmax(&[0.0, 1.0, -1.0, 4.0], 2.0);
    // 1, 1 + 1/2 + 1/8, 1 - 1/2 + 1/8, 1 + 2 + 2.
    let expected = [1.0, 1.625, 0.625, 5.0].map(|weight: f64| weight / 8.25);
    assert!(weights.iter().zip(&expected).all(|(weight, expected)| (weight - expected).abs() < 1e-15));
}

#[test]
fn rows_are_drawn_as_often_as_their_weights_say() {
    const DRAWS: u64 = 100_000;
    let part = |gains: &[f64]| Part {
        rows: (0..gains.len() as u32).collect(),
        gains: gains.to_vec(),
        weights: taylor_softmax(gains, 1.0),
    };
    for gains in [[3.0, 0.5], [0.0, 0.0], [-1.0, 2.0]] {
        let part = part(&gains);
        let mut counts = [0.0; 2];
        for round in 0..DRAWS {
            let [row] = subset(std::slice::from_ref(&part), 0.25, seed(), round).unwrap()[..] else {
                panic!("one row")
            };
            counts[row as usize] += 1.0;
        }
        let chi: f64 = (0..2)
            .map(|row| {
                let expected = DRAWS as f64 * part.weights[row];
                (counts[row] - expected).powi(2) / expected
            })
            .sum();
        // A thousandth of the distribution with one degree of freedom lies beyond.
        assert!(chi < 10.83, "{chi}");
    }
    // Of three rows two without replacement: the pair {0, 1} has p0·p1/(1−p0) + p1·p0/(1−p1).
    let part = part(&[0.0, 1.0, 2.0]);
    let [p0, p1, _] = part.weights[..] else { panic!("three") };
    let pairs =
        (0..DRAWS).filter(|round| subset(std::slice::from_ref(&part), 0.5, seed(), *round).unwrap() == [0, 1]).count();
    let (expected, draws) = (p0 * p1 / (1.0 - p0) + p1 * p0 / (1.0 - p1), DRAWS as f64);
    let z = (pairs as f64 - draws * expected) / (draws * expected * (1.0 - expected)).sqrt();
    assert!(z.abs() < 3.3, "{z}");
}

#[test]
fn parts_are_the_same_for_any_number_of_threads_and_hold_every_row_once() {
    let features = features(2, 103, 6);
    for optimizer in [None, Some(Optimizer::STOCHASTIC)] {
        let settings = Settings { partitions: 10, optimizer, ..Settings::default() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| parts(&features, &settings, None, seed(), &|| Ok(())).unwrap())
        };
        let found = run(1);
        assert_eq!(found, run(4));
        let stopped = parts(&features, &settings, None, seed(), &|| Err(metier_core::stop::interrupted()));
        assert!(metier_core::stop::is_interruption(&stopped.unwrap_err()));
        let mut rows: Vec<u32> = found.iter().flat_map(|part| part.rows.clone()).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..103).collect::<Vec<_>>());
        assert!(
            found
                .iter()
                .all(|part| (10..=11).contains(&part.rows.len()) && part.weights.iter().all(|weight| *weight > 0.0))
        );
        // Of 10 rows ⌈2.5⌉, of 11 ⌈2.75⌉; at 0.99 never all.
        assert_eq!(subset(&found, 0.25, seed(), 0).unwrap().len(), 30);
        assert_eq!(subset(&found, 0.99, seed(), 0).unwrap().len(), 93);
        assert_ne!(subset(&found, 0.25, seed(), 0).unwrap(), subset(&found, 0.25, seed(), 1).unwrap());
        let mut heads: Vec<u64> =
            found.iter().flat_map(|part| part.rows[..3].iter().map(|row| u64::from(*row))).collect();
        heads.sort_unstable();
        assert_eq!(first(&found, 0.25).unwrap(), heads);
    }
}

#[test]
fn bad_rows_and_settings_are_refused_with_what_they_are() {
    let said = |values: &[f32], dimension| Features::new(values.to_vec(), dimension).unwrap_err().to_string();
    assert!(
        said(&[1.0, f32::NAN, 0.0, 1.0, f32::INFINITY, 0.0], 2)
            .contains("2 rows have a number that is not finite, first 0, 2")
    );
    assert!(said(&[1.0, 0.0, 0.0, 0.0], 2).contains("1 rows have the length 0, first 1"));
    assert!(said(&[1.0, 0.0, 0.0], 2).contains("3 numbers are no rows of 2"));
    let features = features(1, 9, 3);
    let of = |settings: &Settings| parts(&features, settings, None, seed(), &|| Ok(()));
    for partitions in [0, 5] {
        let error = of(&Settings { partitions, ..Settings::default() }).unwrap_err().to_string();
        assert!(error.contains("from 1 to 4 are possible"), "{error}");
    }
    assert!(of(&Settings { temperature: 0.0, ..Settings::default() }).is_err());
    let found = of(&Settings::default()).unwrap();
    for fraction in [0.0, 1.0, f64::NAN, -0.5] {
        for error in [subset(&found, fraction, seed(), 0).unwrap_err(), first(&found, fraction).unwrap_err()] {
            assert!(error.to_string().contains("is not between 0 and 1"));
        }
    }
    assert!(Kernel::new(vec![1.0, 0.5, 0.4, 1.0], 2).is_none() && Kernel::new(vec![1.0; 3], 2).is_none());
    assert_eq!(Kernel::new(vec![1.0, 0.5, 0.5, 1.0], 2).unwrap().size(), 2);
}
