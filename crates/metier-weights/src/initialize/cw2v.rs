use super::{Initialize, Known, Made, Rows, SubwordMean, largest};
use crate::skip_gram::{self, Negatives, Pairs, SkipGram, Which};
use metier_compute::op::{self, AdamwStep};
use metier_compute::{Gradients, ParameterId, Parameters, Tape, Tensor, Var};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop, store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// # What it does
/// Begins every new token as a mixture of old rows that is learned from text: constrained word2vec.
///
/// # How
/// The rows are `softmax(A B) E`, with `E` `[old, width]` the old rows, which stay, `A` `[new, rank]` and `B` `[rank, old]`
/// learned and begun uniform in 0..1. Skip-gram with negatives over text of both languages draws the rows of tokens that
/// stand near each other together: centers are rows of the embedding, the others rows of the head, which has an `A` and `B`
/// of its own; tied matrices are one. Adam, `passes` over the text; what the pass with the least cost on every 50th line,
/// held out, came to is kept. Softmax makes shares of at least 0 that sum to 1, so every row lies in the convex hull of the
/// old ones. A token that the text does not have is the mean of its parts.
///
/// # When to use
/// When new tokens must be useful from the first step on, or little training follows. `A B` costs `2 rank old` operations
/// for each new token of a batch, so `rank` and the text decide the time.
///
/// # Differs from the paper in
/// The tokens drawn at random cost each for itself unless `negatives_cost` says `reference`; frequent tokens are left out by
/// their share of the text (`threshold`), where the authors' code uses counts; the pass that is kept is chosen by its cost
/// on held-out lines.
///
/// # Source
/// Mundra et al., "An Empirical Comparison of Vocabulary Expansion and Initialization Approaches for Language Models",
/// arXiv 2407.05841, section 3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cw2v {
    /// Width between new and old tokens.
    #[schemars(range(min = 1, max = 65_536))]
    pub rank: usize,
    /// Places from a token within which others are near.
    #[schemars(range(min = 1, max = 100))]
    pub window: usize,
    /// Tokens drawn at random for each pair.
    #[schemars(range(min = 1, max = 1000))]
    pub negatives: usize,
    /// What they cost.
    pub negatives_cost: Negatives,
    /// Tokens of a larger share of the text are left out at times; 0 leaves none out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// Rate of Adam.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rate: f64,
    /// Pairs of a step.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch: usize,
    /// Passes over the text.
    #[schemars(range(min = 1, max = 1000))]
    pub passes: u64,
}

impl Default for Cw2v {
    fn default() -> Self {
        Self {
            rank: 1024,
            window: 5,
            negatives: 5,
            negatives_cost: Negatives::Standard,
            threshold: 1e-4,
            rate: 3e-4,
            batch: 4096,
            passes: 5,
        }
    }
}

/// New tokens whose shares of all old ones exist at one time.
const SHARES: usize = 64;
/// One line of so many is held out.
const HELD_OUT: usize = 50;

impl Build<dyn Initialize> for Cw2v {
    fn build(self, place: &Place) -> Result<Box<dyn Initialize>> {
        let mut faults = Vec::new();
        let mut want = |key: &str, holds: bool, value: String, hint: &str| {
            if !holds {
                let fault = Fault::new(place.clone().with_key(key), format!("{value} is out of range"));
                faults.push(fault.hint(format!("it is in {hint}")));
            }
        };
        want("rank", (1..=65_536).contains(&self.rank), self.rank.to_string(), "1..=65536");
        want("window", (1..=100).contains(&self.window), self.window.to_string(), "1..=100");
        want("negatives", (1..=1000).contains(&self.negatives), self.negatives.to_string(), "1..=1000");
        want("threshold", (0.0..=1.0).contains(&self.threshold), self.threshold.to_string(), "0..=1");
        want("rate", self.rate > 0.0 && self.rate <= 1.0, self.rate.to_string(), "0..=1, above 0");
        want("batch", (1..=1 << 20).contains(&self.batch), self.batch.to_string(), "1..=1048576");
        want("passes", (1..=1000).contains(&self.passes), self.passes.to_string(), "1..=1000");
        Error::collect(Box::new(self) as Box<dyn Initialize>, faults)
    }
}

impl Initialize for Cw2v {
    fn reads_text(&self) -> bool {
        true
    }

    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made> {
        let learned = self.learn(known, seed)?;
        let all: Vec<usize> = (0..known.parts.len()).collect();
        let rows = |mixture: &Mixture, sources: Option<&mut Vec<_>>| -> Result<Rows> {
            let mut values = Vec::with_capacity(all.len() * known.embedding.width);
            let mut sources = sources;
            for some in all.chunks(SHARES) {
                let (shares, rows) = learned.shares_and_rows(mixture, some)?;
                let old = known.embedding.count();
                if let Some(sources) = &mut sources {
                    sources.extend(shares.data().chunks_exact(old).map(|row| largest((0..).zip(row.iter().copied()))));
                }
                values.extend_from_slice(rows.data());
            }
            Ok(Rows { values, width: known.embedding.width })
        };
        let mut sources = Vec::new();
        let embedding = rows(&learned.mixtures[0], Some(&mut sources))?;
        let head = learned.mixtures.get(1).map(|mixture| rows(mixture, None)).transpose()?;
        let mut made = Made { embedding, head, sources: Some(sources), unseen: Vec::new() };
        // Nothing was learned of tokens that the text does not have.
        let (counts, old) = (known.counts(), known.embedding.count());
        made.unseen = all.into_iter().filter(|new| counts[old + new] == 0).collect();
        let parts = SubwordMean::default().rows(known, seed)?;
        for new in made.unseen.iter().copied() {
            let both = [(Some(&mut made.embedding), Some(&parts.embedding)), (made.head.as_mut(), parts.head.as_ref())];
            for (rows, parts) in both.into_iter().filter_map(|(rows, parts)| rows.zip(parts)) {
                rows.values[new * parts.width..][..parts.width].copy_from_slice(parts.row(new));
            }
            if let (Some(sources), Some(parts)) = (&mut made.sources, &parts.sources) {
                sources[new].clone_from(&parts[new]);
            }
        }
        Ok(made)
    }
}

impl Cw2v {
    fn learn(&self, known: Known<'_>, seed: Seed) -> Result<Learned> {
        known.check()?;
        let old = known.embedding.count();
        let all = old + known.parts.len();
        let shape = SkipGram {
            window: self.window,
            negatives: self.negatives,
            threshold: self.threshold,
            cost: self.negatives_cost,
        };
        let sampler = shape.sampler(known.lines, Which::Learned(HELD_OUT), all)?;
        // Where no line that is held out has two tokens, the text itself is the measure.
        let held = shape.sampler(known.lines, Which::HeldOut(HELD_OUT), all);
        let held = held.or_else(|_| shape.sampler(known.lines, Which::Learned(HELD_OUT), all))?;
        let mut learned = Learned::new(self.rank, known, seed)?;
        let mut progress = Progress::default();
        let mut saving = known.work.map(Saving::new);
        if let Some(saving) = &saving {
            progress = saving.read(&mut learned)?;
        }
        while progress.pass < self.passes {
            let (pass, done) = (progress.pass, progress.batches);
            let mut batch = 0;
            sampler.pass(seed.derive("text"), pass, self.batch, &mut |pairs| {
                stop::check()?;
                batch += 1;
                if batch <= done {
                    return Ok(());
                }
                progress.step += 1;
                progress.batches = batch;
                learned.step(pairs, known, self, progress.step)?;
                saving.as_mut().map_or(Ok(()), |saving| saving.write_at_times(&progress, &learned))
            })?;
            let (mut cost, mut count) = (0.0, 0);
            held.pass(seed.derive("held out"), 0, self.batch, &mut |pairs| {
                stop::check()?;
                cost += learned.cost(pairs, known, self.negatives_cost)?.0 * pairs.centers.len() as f64;
                count += pairs.centers.len();
                Ok(())
            })?;
            let cost = cost / count.max(1) as f64;
            if progress.best.is_none_or(|least| cost < least) {
                progress.best = Some(cost);
                learned.best = Some(learned.values());
            }
            (progress.pass, progress.batches) = (pass + 1, 0);
            if let Some(saving) = &mut saving {
                saving.write(&progress, &learned)?;
            }
        }
        if let Some(values) = learned.best.take() {
            learned.set(values);
        }
        Ok(learned)
    }
}

/// How far the learning has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// Passes that are complete.
    pass: u64,
    /// Batches of the one under way.
    batches: u64,
    /// Steps in all.
    step: u64,
    /// The least cost of a pass on lines held out.
    best: Option<f64>,
}

/// Keeps a [`Progress`] with all numbers that learning changes, so that they may be gone on from.
struct Saving {
    path: PathBuf,
    last: Instant,
    /// How long writing took.
    took: Duration,
}

/// Writing may take one part in so many of the time.
const OF_THE_TIME: u32 = 20;

impl Saving {
    fn new(folder: &Path) -> Self {
        Self { path: folder.join("cw2v.checkpoint"), last: Instant::now(), took: Duration::ZERO }
    }

    fn failed(&self, what: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |error| Error::io(&self.path, what, &error)
    }

    /// The progress in a line of JSON, then the numbers in [`Learned::all`]'s order, in little-endian bytes.
    fn write(&mut self, progress: &Progress, learned: &Learned) -> Result<()> {
        let began = Instant::now();
        let line = serde_json::to_string(progress)
            .map_err(|error| Error::program(format!("the progress does not serialize: {error}")))?;
        store::write_atomic_with(&self.path, |file| {
            let mut written = writeln!(file, "{line}");
            for number in learned.all().into_iter().flatten() {
                written = written.and_then(|()| file.write_all(&number.to_le_bytes()));
            }
            written.map_err(self.failed("write the file"))
        })?;
        self.last = Instant::now();
        self.took = began.elapsed();
        Ok(())
    }

    fn write_at_times(&mut self, progress: &Progress, learned: &Learned) -> Result<()> {
        if self.last.elapsed() < self.took * OF_THE_TIME { Ok(()) } else { self.write(progress, learned) }
    }

    /// What was kept, or a beginning. Numbers are put where they belong.
    fn read(&self, learned: &mut Learned) -> Result<Progress> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Progress::default()),
            Err(error) => return Err(self.failed("open the file")(error)),
        };
        let mut file = BufReader::new(file);
        let mut line = String::new();
        file.read_line(&mut line).map_err(self.failed("read the file"))?;
        let progress: Progress = serde_json::from_str(&line)
            .map_err(|error| Error::file(&self.path, format!("this is no progress of an initializer: {error}")))?;
        if progress.best.is_some() {
            learned.best = Some(learned.values());
        }
        let mut read = |numbers: &mut [f32]| {
            let mut bytes = [0; size_of::<f32>()];
            numbers.iter_mut().try_for_each(|number| {
                file.read_exact(&mut bytes).map_err(self.failed("read the file"))?;
                *number = f32::from_le_bytes(bytes);
                Ok::<_, Error>(())
            })
        };
        let ids: Vec<ParameterId> = learned.parameters.iter().map(|(id, ..)| id).collect();
        ids.into_iter().try_for_each(|id| read(learned.parameters.get_mut(id).data_mut()))?;
        learned.mixtures.iter_mut().flat_map(|mixture| mixture.means.iter_mut().flatten()).try_for_each(|x| read(x))?;
        learned.best.iter_mut().flatten().try_for_each(|tensor| read(tensor.data_mut()))?;
        Ok(progress)
    }
}

/// What makes the new rows of one matrix.
struct Mixture {
    a: ParameterId,
    /// `B` turned, `[old, rank]`.
    b: ParameterId,
    /// Old rows turned, `[width, old]`.
    old: Tensor,
    /// Running means of the gradients of `a` and of `b`.
    means: [[Vec<f32>; 2]; 2],
}

struct Learned {
    parameters: Parameters,
    /// Of the embedding, and of the head where it is not the embedding.
    mixtures: Vec<Mixture>,
    /// The values after the pass of the least cost.
    best: Option<Vec<Tensor>>,
    /// Old tokens.
    old: usize,
    width: usize,
}

/// Rows of the tokens of some pairs, and which tokens they are.
struct Table {
    ids: Vec<TokenId>,
    rows: Rows,
}

/// Rows, and the gradient of each.
type Slopes = (Table, Vec<f32>);

impl Table {
    fn place(&self, id: TokenId) -> TokenId {
        self.ids.partition_point(|other| *other < id) as TokenId
    }
}

impl Learned {
    fn new(rank: usize, known: Known<'_>, seed: Seed) -> Result<Self> {
        let (old, new, width) = (known.embedding.count(), known.parts.len(), known.embedding.width);
        let mut parameters = Parameters::new();
        let mut mixtures = Vec::new();
        for (name, rows) in [("embedding", Some(known.embedding)), ("head", known.head)] {
            let Some(rows) = rows else { continue };
            let mut add = |part: &str, count: usize| -> Result<ParameterId> {
                let name = format!("{name}.{part}");
                let mut stream = seed.derive(&name).at(0);
                let values = (0..count * rank).map(|_| stream.unit() as f32).collect();
                parameters.insert(name, Tensor::from_vec(&[count, rank], values)?, true)
            };
            let (a, b) = (add("a", new)?, add("b", old)?);
            let mut turned = Tensor::zeros(&[width, old])?;
            for (at, row) in rows.iter().enumerate() {
                for (column, x) in row.iter().enumerate() {
                    turned.data_mut()[column * old + at] = *x;
                }
            }
            let means = [new, old].map(|count| [vec![0.0; count * rank], vec![0.0; count * rank]]);
            mixtures.push(Mixture { a, b, old: turned, means });
        }
        Ok(Self { parameters, mixtures, best: None, old, width })
    }

    fn values(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|(_, _, tensor, _)| tensor.clone()).collect()
    }

    fn set(&mut self, values: Vec<Tensor>) {
        let ids: Vec<ParameterId> = self.parameters.iter().map(|(id, ..)| id).collect();
        for (id, value) in ids.into_iter().zip(values) {
            *self.parameters.get_mut(id) = value;
        }
    }

    /// Every number that learning changes: values, running means, the best values.
    fn all(&self) -> Vec<&[f32]> {
        let values = self.parameters.iter().map(|(_, _, tensor, _)| tensor.data());
        let means = self.mixtures.iter().flat_map(|mixture| mixture.means.iter().flatten().map(Vec::as_slice));
        values.chain(means).chain(self.best.iter().flatten().map(Tensor::data)).collect()
    }

    /// Shares of all old tokens in some new ones, `[some, old]`, and the rows they make, `[some, width]`.
    fn mix(tape: &mut Tape<'_>, mixture: &Mixture, some: &[usize]) -> Result<(Var, Var)> {
        let ids: Vec<u32> = some.iter().map(|new| *new as u32).collect();
        let (a, b) = (tape.parameter(mixture.a), tape.parameter(mixture.b));
        let a = op::embedding(tape, a, &ids)?;
        let logits = op::linear(tape, a, b, None)?;
        let shares = op::softmax(tape, logits)?;
        let old = tape.constant(mixture.old.clone());
        Ok((shares, op::linear(tape, shares, old, None)?))
    }

    fn shares_and_rows(&self, mixture: &Mixture, some: &[usize]) -> Result<(Tensor, Tensor)> {
        let mut tape = Tape::inference(&self.parameters);
        let (shares, rows) = Self::mix(&mut tape, mixture, some)?;
        Ok((tape.value(shares)?.clone(), tape.value(rows)?.clone()))
    }

    /// The rows of the tokens `ids` in one matrix.
    fn table(&self, mixture: &Mixture, old: &Rows, ids: BTreeSet<TokenId>) -> Result<Table> {
        let ids: Vec<TokenId> = ids.into_iter().collect();
        let mut values = Vec::with_capacity(ids.len() * self.width);
        let new = ids.partition_point(|id| (*id as usize) < self.old);
        ids[..new].iter().for_each(|id| values.extend_from_slice(old.row(*id as usize)));
        for some in ids[new..].chunks(SHARES) {
            let some: Vec<usize> = some.iter().map(|id| *id as usize - self.old).collect();
            values.extend_from_slice(self.shares_and_rows(mixture, &some)?.1.data());
        }
        Ok(Table { ids, rows: Rows { values, width: self.width } })
    }

    /// What pairs cost, and for each matrix its tokens with the gradients of their rows.
    fn cost(&self, pairs: &Pairs, known: Known<'_>, style: Negatives) -> Result<(f64, Vec<Slopes>)> {
        let centers = pairs.centers.iter().copied();
        let others = pairs.near.iter().chain(&pairs.drawn).copied();
        let [first, last] = [self.mixtures.first(), self.mixtures.last()].map(|mixture| mixture.ok_or_else(gone));
        let (first, last) = (first?, last?);
        let (tables, both) = match known.head {
            Some(head) => {
                let center = self.table(first, known.embedding, centers.collect())?;
                (vec![center, self.table(last, head, others.collect())?], [0, 1])
            }
            None => (vec![self.table(first, known.embedding, centers.chain(others).collect())?], [0, 0]),
        };
        let place = |which: usize, ids: &[TokenId]| ids.iter().map(|id| tables[which].place(*id)).collect();
        let [center, other] = both;
        let placed = Pairs {
            centers: place(center, &pairs.centers),
            near: place(other, &pairs.near),
            drawn: place(other, &pairs.drawn),
        };
        let mut gradients = both.map(|which| vec![0.0; tables[which].rows.values.len()]);
        let [first, second] = &mut gradients;
        let rows = both.map(|which| &tables[which].rows);
        let cost = skip_gram::cost(&placed, style, rows, [first, second]);
        let [mut first, second] = gradients;
        let gradients = if tables.len() == 1 {
            first.iter_mut().zip(second).for_each(|(first, second)| *first += second);
            vec![first]
        } else {
            vec![first, second]
        };
        Ok((cost, tables.into_iter().zip(gradients).collect()))
    }

    /// One step of Adam on what new tokens of `pairs` are made of.
    fn step(&mut self, pairs: &Pairs, known: Known<'_>, settings: &Cw2v, step: u64) -> Result<()> {
        let (_, of_rows) = self.cost(pairs, known, settings.negatives_cost)?;
        let mut gradients = Gradients::new();
        for (mixture, (table, of_rows)) in self.mixtures.iter().zip(&of_rows) {
            let new = table.ids.partition_point(|id| (*id as usize) < self.old);
            for (ids, of_rows) in
                table.ids[new..].chunks(SHARES).zip(of_rows[new * self.width..].chunks(SHARES * self.width))
            {
                let some: Vec<usize> = ids.iter().map(|id| *id as usize - self.old).collect();
                let mut tape = Tape::training(&self.parameters);
                let (_, rows) = Self::mix(&mut tape, mixture, &some)?;
                let of_rows = tape.constant(Tensor::from_vec(&[some.len(), self.width], of_rows.to_vec())?);
                // Its gradient with respect to the rows is what the pairs say.
                let product = op::multiply(&mut tape, rows, of_rows)?;
                let sum = op::sum(&mut tape, product)?;
                tape.backward(sum, &mut gradients)?;
            }
        }
        let numbers = AdamwStep {
            rate: settings.rate as f32,
            scale: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
            step,
        };
        for mixture in &mut self.mixtures {
            for (id, [mean, square]) in [mixture.a, mixture.b].into_iter().zip(&mut mixture.means) {
                let Some(gradient) = gradients.get(id) else { continue };
                op::adamw_step(self.parameters.get_mut(id).data_mut(), gradient.data(), mean, square, &numbers)?;
            }
        }
        Ok(())
    }
}

fn gone() -> Error {
    Error::program("a model has an embedding")
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Cw2v>("cw2v", 2);

#[cfg(test)]
mod tests {
    use super::super::tests::{known, known_rows, text};
    use super::*;

    fn small() -> Cw2v {
        Cw2v { rank: 16, threshold: 0.0, rate: 1e-2, batch: 256, passes: 3, ..Cw2v::default() }
    }

    #[test]
    fn shares_are_a_mixture_and_rows_are_made_of_them() {
        let (embedding, head) = (known_rows(50, 12, 1), known_rows(50, 12, 2));
        let parts = vec![vec![]; 5];
        let lines = text(55);
        for head in [None, Some(&head)] {
            let known = known(&embedding, head, &parts, &lines);
            let learned = small().learn(known, Seed::new(1)).unwrap();
            let made = small().rows(known, Seed::new(1)).unwrap();
            let all: Vec<usize> = (0..5).collect();
            let of = [
                (&made.embedding, &embedding),
                (made.head.as_ref().unwrap_or(&made.embedding), head.unwrap_or(&embedding)),
            ];
            for (mixture, (rows, old)) in learned.mixtures.iter().zip(of) {
                let (shares, _) = learned.shares_and_rows(mixture, &all).unwrap();
                for (shares, row) in shares.data().chunks_exact(50).zip(rows.iter()) {
                    assert!(shares.iter().all(|share| *share >= 0.0));
                    let sum: f64 = shares.iter().map(|share| f64::from(*share)).sum();
                    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
                    for (column, x) in row.iter().enumerate() {
                        let mixed: f64 =
                            shares.iter().zip(old.iter()).map(|(s, old)| f64::from(*s) * f64::from(old[column])).sum();
                        assert!((mixed - f64::from(*x)).abs() < 1e-5, "{mixed} for {x}");
                    }
                }
            }
            assert_eq!(made, small().rows(known, Seed::new(1)).unwrap(), "the same seed gives the same rows");
            let sources = made.sources.unwrap();
            assert!(sources.iter().all(|list| list.len() == 5 && list.windows(2).all(|pair| pair[0].1 >= pair[1].1)));
        }
    }

    /// A step lowers what the pairs that it saw cost.
    #[test]
    fn steps_follow_the_gradient() {
        let (embedding, head) = (known_rows(30, 8, 3), known_rows(30, 8, 4));
        let (parts, lines) = (vec![vec![]; 5], text(35));
        for head in [None, Some(&head)] {
            let known = known(&embedding, head, &parts, &lines);
            let mut learned = Learned::new(8, known, Seed::new(2)).unwrap();
            let shape = SkipGram { window: 2, negatives: 3, threshold: 0.0, cost: Negatives::Standard };
            let mut batch = Pairs::default();
            let sampler = shape.sampler(&lines, Which::All, 35).unwrap();
            sampler
                .pass(Seed::new(5), 0, 400, &mut |pairs| {
                    batch = pairs.clone();
                    Ok(())
                })
                .unwrap();
            let before = learned.cost(&batch, known, Negatives::Standard).unwrap().0;
            for step in 1..=20 {
                learned.step(&batch, known, &small(), step).unwrap();
            }
            let after = learned.cost(&batch, known, Negatives::Standard).unwrap().0;
            assert!(after < before - 0.01, "{after} after {before}");
        }
    }

    /// Passes that were learned before are not learned again, and the rows are the same.
    #[test]
    fn learning_goes_on_where_it_was_interrupted() {
        let (embedding, head) = (known_rows(30, 8, 3), known_rows(30, 8, 4));
        let (parts, lines) = (vec![vec![]; 5], text(35));
        let whole = known(&embedding, Some(&head), &parts, &lines);
        let expected = small().rows(whole, Seed::new(2)).unwrap();
        let folder = metier_testkit::scratch("cw2v");
        let known = Known { work: Some(folder.path()), ..whole };
        for passes in 1..small().passes {
            Cw2v { passes, ..small() }.learn(known, Seed::new(2)).unwrap();
        }
        assert_eq!(small().rows(known, Seed::new(2)).unwrap(), expected);
    }
}
