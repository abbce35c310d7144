//! Several `lora` adapters of one base made into one.
//!
//! Of adapter `i` with the weight `w` and the factor `s` of its files, for each layer that it has:
//!
//! | method | makes |
//! |---|---|
//! | `linear` | the sums of `±√(w s) A` and of `√(w s) B`; for ranks that are equal |
//! | `cat` | all `w s A` below each other and all `B` side by side: the sum of the additions exactly, ranks add up |
//! | `svd` | the nearest to that sum of a given rank |
//! | `magnitude_prune` | `linear` of the numbers of greatest magnitude, a share `density` of each tensor |
//! | `ties` | of these, at each place the mean of those whose sign is that of most |
//! | `dare_linear` | `linear` of numbers left by chance, a share `density`, divided by it |
//! | `dare_ties` | `ties` of those |
//!
//! What is made has the factor 1. Results are those of `add_weighted_adapter` of the PEFT library; chance comes from the seed here. Sources: Yadav
//! et al., TIES-Merging, arXiv 2306.01708; Yu et al., Language Models are Super Mario (DARE), arXiv 2311.03099.

mod decompose;

use crate::adapter::Lora;
use crate::adapter::lora_settings;
use crate::folder::{self, Base, Opened, PREFIX, Source};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use safetensors::tensor::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How adapters become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The sum of the additions, exactly; ranks add up.
    #[default]
    Cat,
    /// `linear` of numbers left by chance.
    DareLinear,
    /// `ties` of numbers left by chance.
    DareTies,
    /// Sums of the thin matrices, for equal ranks.
    Linear,
    /// `linear` of the greatest numbers.
    MagnitudePrune,
    /// The nearest to the sum of the additions of a given rank.
    Svd,
    /// The mean of the greatest numbers that agree in sign.
    Ties,
}

/// What tells the sign of most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MajoritySign {
    /// The sign of the sum.
    #[default]
    Total,
    /// The sign that more of them have.
    Frequency,
}

/// How adapters are combined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Combine {
    /// How adapters become one.
    pub method: Method,
    /// The share of numbers that `dare_linear`, `dare_ties`, `magnitude_prune` and `ties` keep.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub density: f64,
    /// What tells the sign of most, for `dare_ties` and `ties`.
    pub majority_sign: MajoritySign,
    /// The rank that `svd` makes; that of the largest when it is left out.
    #[schemars(range(min = 1, max = 4096))]
    pub rank: Option<usize>,
}

impl Default for Combine {
    fn default() -> Self {
        Self { method: Method::default(), density: 0.5, majority_sign: MajoritySign::default(), rank: None }
    }
}

/// One of the adapters.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// What it is called in messages.
    pub name: &'a str,
    /// Its folder.
    pub folder: &'a Path,
    /// How much it counts; below 0 it is taken away.
    pub weight: f64,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combined {
    /// The highest rank of a layer.
    pub rank: usize,
    /// Layers with an adapter.
    pub sites: usize,
    /// Numbers in all.
    pub numbers: usize,
}

/// A matrix, row after row.
#[derive(Debug, Clone)]
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

/// The two thin matrices of a layer: `[rank, inputs]` and `[outputs, rank]`.
struct Pair {
    a: Matrix,
    b: Matrix,
}

struct Read<'a> {
    member: Member<'a>,
    config: Map<String, Value>,
    lora: Lora,
    base: Option<Base>,
    pairs: BTreeMap<String, Pair>,
}

/// A share of what a layer becomes.
struct Share<'a> {
    pair: &'a Pair,
    /// The adapter's number.
    of: usize,
    /// `w s`.
    factor: f64,
}

/// Which numbers of a tensor stay, given its name, the adapter's number and how many there are.
type Chance<'a> = dyn FnMut(&str, usize, usize) -> Vec<bool> + 'a;

impl Combine {
    /// Refuses numbers out of their ranges.
    pub fn check(&self, place: &Place) -> Result<()> {
        let mut check = crate::targets::Check::new(place);
        check.require("density", self.density, (0.0..=1.0).contains(&self.density), "it is from 0 to 1");
        check.count("rank", self.rank.unwrap_or(1));
        check.done(())
    }

    /// Makes one adapter of `members` and writes it to the folder `to`.
    ///
    /// # Errors
    /// When a folder cannot be read or is no `lora`, bases differ, or matrices do not go together; all such faults together.
    pub fn run(&self, members: &[Member<'_>], seed: Seed, to: &Path) -> Result<Combined> {
        self.run_with(members, to, &mut |name, of, count| {
            let mut stream = seed.derive(name).at(of as u64);
            (0..count).map(|_| stream.unit() < self.density).collect()
        })
    }

    fn run_with(&self, members: &[Member<'_>], to: &Path, chance: &mut Chance<'_>) -> Result<Combined> {
        let mut faults = Vec::new();
        let mut all = Vec::new();
        for member in members {
            match read(*member) {
                Ok(read) => all.push(read),
                Err(error) => faults.extend(error.faults),
            }
        }
        Error::collect((), faults)?;
        let Some(first) = all.first() else {
            return Err(Error::user(Place::key("from"), "there is no adapter to combine"));
        };
        check_bases(&all)?;
        let mut made: BTreeMap<&str, Pair> = BTreeMap::new();
        let mut faults = Vec::new();
        let sites: BTreeSet<&str> = all.iter().flat_map(|read| read.pairs.keys().map(String::as_str)).collect();
        for site in sites {
            let shares: Vec<Share<'_>> = (0..)
                .zip(&all)
                .filter_map(|(of, read)| {
                    let factor = read.member.weight * f64::from(read.lora.at(site).1);
                    Some(Share { pair: read.pairs.get(site)?, of, factor })
                })
                .collect();
            match check_shapes(site, &shares, &all, self.method) {
                Err(error) => faults.extend(error.faults),
                Ok(()) => {
                    made.insert(site, self.site(site, &shares, chance));
                }
            }
        }
        Error::collect((), faults)?;
        let rank = made.values().map(|pair| pair.a.rows).max().unwrap_or(1);
        let config = config_of(first, &all, &made, rank);
        let combined = Combined {
            rank,
            sites: made.len(),
            numbers: made.values().map(|pair| pair.a.values.len() + pair.b.values.len()).sum(),
        };
        let tensors = made.into_iter().flat_map(|(site, Pair { a, b })| {
            [("lora_A.weight", a), ("lora_B.weight", b)].map(|(part, matrix)| {
                let bytes = matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (folder::name_at(site, part), vec![matrix.rows, matrix.columns], Dtype::F32, bytes)
            })
        });
        folder::write(to, &tensors.collect::<Vec<_>>(), config, first.base.as_ref())?;
        Ok(combined)
    }

    /// What one layer becomes.
    fn site(&self, site: &str, shares: &[Share<'_>], chance: &mut Chance<'_>) -> Pair {
        match self.method {
            Method::Cat => side_by_side(shares),
            Method::Svd => {
                let rank = self.rank.or_else(|| shares.iter().map(|share| share.pair.a.rows).max()).unwrap_or(1);
                let Pair { a, b } = side_by_side(shares);
                let (a, b) = decompose::nearest(&a, &b, rank);
                Pair { a, b }
            }
            _ => {
                let mut mix = |part: &str, is_a: bool| {
                    let name = folder::name_at(site, part);
                    let tensors: Vec<(usize, &Matrix)> = shares
                        .iter()
                        .map(|share| (share.of, if is_a { &share.pair.a } else { &share.pair.b }))
                        .collect();
                    // The sign goes to one of the two, or it would be lost in their product.
                    let weight = |factor: f64| factor.abs().sqrt() * if is_a && factor < 0.0 { -1.0 } else { 1.0 };
                    let weights: Vec<f32> = shares.iter().map(|share| weight(share.factor) as f32).collect();
                    self.mix(&name, &tensors, &weights, chance)
                };
                Pair { a: mix("lora_A.weight", true), b: mix("lora_B.weight", false) }
            }
        }
    }

    /// Weighted sums, or means of what agrees, of what is left of each tensor.
    fn mix(&self, name: &str, tensors: &[(usize, &Matrix)], weights: &[f32], chance: &mut Chance<'_>) -> Matrix {
        let left = tensors.iter().map(|(of, tensor)| match self.method {
            _ if self.density >= 1.0 => tensor.values.clone(),
            Method::MagnitudePrune | Method::Ties => greatest(&tensor.values, self.density),
            Method::DareLinear | Method::DareTies => {
                let stays = chance(name, *of, tensor.values.len());
                let keep = |(value, stays): (&f32, bool)| if stays { value / self.density as f32 } else { 0.0 };
                tensor.values.iter().zip(stays).map(keep).collect()
            }
            _ => tensor.values.clone(),
        });
        let left: Vec<Vec<f32>> = left.collect();
        let elects = matches!(self.method, Method::Ties | Method::DareTies);
        let (rows, columns) = tensors.first().map_or((0, 0), |(_, tensor)| (tensor.rows, tensor.columns));
        let at = |place: usize| {
            let here = left.iter().map(|values| values[place]);
            let weighted = here.clone().zip(weights).map(|(value, weight)| value * weight);
            if !elects {
                return weighted.sum();
            }
            let sum: f32 = match self.majority_sign {
                MajoritySign::Total => here.clone().sum(),
                MajoritySign::Frequency => here.clone().map(sign).sum(),
            };
            let most = if sum >= 0.0 { 1.0 } else { -1.0 };
            let agree = |value: f32| (sign(value) - most).abs() < 0.5;
            let count = here.clone().filter(|value| agree(*value)).count().max(1);
            let agreeing = here.zip(weighted).filter(|(value, _)| agree(*value)).map(|(_, weighted)| weighted);
            agreeing.sum::<f32>() / count as f32
        };
        Matrix { rows, columns, values: (0..rows * columns).map(at).collect() }
    }
}

/// -1, 0 or 1.
fn sign(value: f32) -> f32 {
    f32::from(i8::from(value > 0.0) - i8::from(value < 0.0))
}

/// The numbers of greatest magnitude, a share of all; the others become zero.
fn greatest(values: &[f32], density: f64) -> Vec<f32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    let mut left = vec![0.0; values.len()];
    for at in order.into_iter().take((density * values.len() as f64) as usize) {
        left[at] = values[at];
    }
    left
}

/// All `w s A` below each other, all `B` side by side.
fn side_by_side(shares: &[Share<'_>]) -> Pair {
    let rank = shares.iter().map(|share| share.pair.a.rows).sum();
    let (inputs, outputs) = shares.first().map_or((0, 0), |share| (share.pair.a.columns, share.pair.b.rows));
    let a = shares.iter().flat_map(|share| share.pair.a.values.iter().map(|value| value * share.factor as f32));
    let b = (0..outputs).flat_map(|row| {
        shares.iter().flat_map(move |share| {
            let rank = share.pair.b.columns;
            share.pair.b.values[row * rank..][..rank].iter().copied()
        })
    });
    Pair {
        a: Matrix { rows: rank, columns: inputs, values: a.collect() },
        b: Matrix { rows: outputs, columns: rank, values: b.collect() },
    }
}

/// Reads an adapter's files.
fn read(member: Member<'_>) -> Result<Read<'_>> {
    let opened = Opened::new(member.folder)?;
    let mut source = Source::new(&opened)?;
    let peft_type = source.value("peft_type").as_str().unwrap_or_default().to_owned();
    if peft_type != "LORA" || source.flag("use_dora", false) {
        source.refuse("peft_type", format!("`{}` is no plain LoRA, and only those are combined", member.name));
    }
    let lora = lora_settings(&mut source);
    source.settings()?;
    let mut pairs = BTreeMap::new();
    for name in source.names() {
        let Some(site) = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".lora_A.weight")) else {
            continue;
        };
        let mut take = |part: &str| -> Result<Option<Matrix>> {
            let name = folder::name_at(site, part);
            let shape = source.shape(&name).unwrap_or_default();
            let [rows, columns] = *shape else {
                source.fault(&name, format!("the tensor has the shape {shape:?}, and two sizes are wanted"));
                return Ok(None);
            };
            let tensor = source.tensor(&name, &[rows, columns])?;
            Ok(tensor.map(|tensor| Matrix { rows, columns, values: tensor.data().to_vec() }))
        };
        let (a, b) = (take("lora_A.weight")?, take("lora_B.weight")?);
        if let (Some(a), Some(b)) = (a, b) {
            if a.rows == b.columns {
                pairs.insert(site.to_owned(), Pair { a, b });
            } else {
                source.fault(&name, format!("its rank is {}, and that of `lora_B` is {}", a.rows, b.columns));
            }
        }
    }
    let config = source.finish()?;
    Ok(Read { member, config, lora, base: opened.base, pairs })
}

/// Refuses adapters of different bases, as far as their folders say which they belong to.
fn check_bases(all: &[Read<'_>]) -> Result<()> {
    let known: Vec<(&Read<'_>, &Base)> = all.iter().filter_map(|read| Some((read, read.base.as_ref()?))).collect();
    let Some(((first, base), others)) = known.split_first() else { return Ok(()) };
    let faults = others.iter().filter(|(_, other)| !other.is_of(base)).map(|(read, _)| {
        let message = format!("`{}` was trained on another base than `{}`", read.member.name, first.member.name);
        Fault::new(Place::file(read.member.folder), message).hint("combine adapters of one base")
    });
    Error::collect((), faults.collect())
}

fn check_shapes(site: &str, shares: &[Share<'_>], all: &[Read<'_>], method: Method) -> Result<()> {
    let Some((first, others)) = shares.split_first() else { return Ok(()) };
    let name = |share: &Share<'_>| all[share.of].member.name;
    for share in others {
        let sizes = [first, share].map(|share| (share.pair.b.rows, share.pair.a.columns));
        if sizes[0] != sizes[1] {
            let message = format!(
                "the layer is {:?} for `{}` and {:?} for `{}` (outputs, inputs)",
                sizes[0],
                name(first),
                sizes[1],
                name(share)
            );
            return Err(Fault::new(Place::key(site), message).hint("combine adapters of one base").into());
        }
        let ranks = [first, share].map(|share| share.pair.a.rows);
        if ranks[0] != ranks[1] && !matches!(method, Method::Cat | Method::Svd) {
            let message =
                format!("`{}` has the rank {}, `{}` the rank {}", name(first), ranks[0], name(share), ranks[1]);
            return Err(Fault::new(Place::key(site), message)
                .hint("choose `cat` or `svd`, which take any ranks")
                .into());
        }
    }
    Ok(())
}

/// The settings of what was made: those of the first, with a factor of 1 everywhere.
fn config_of(first: &Read<'_>, all: &[Read<'_>], made: &BTreeMap<&str, Pair>, rank: usize) -> Map<String, Value> {
    let mut config = first.config.clone();
    let lists: Option<Vec<&Vec<Value>>> =
        all.iter().map(|read| read.config.get("target_modules").and_then(Value::as_array)).collect();
    let targets: BTreeSet<&str> = match &lists {
        Some(lists) => lists.iter().flat_map(|list| list.iter().filter_map(Value::as_str)).collect(),
        None => made.keys().copied().collect(),
    };
    let others: BTreeMap<&str, usize> =
        made.iter().map(|(site, pair)| (*site, pair.a.rows)).filter(|(_, own)| *own != rank).collect();
    for (key, value) in [
        ("r", json!(rank)),
        ("lora_alpha", json!(rank)),
        ("use_rslora", json!(false)),
        ("target_modules", json!(targets)),
        ("rank_pattern", json!(others)),
        ("alpha_pattern", json!(others)),
    ] {
        config.insert(key.to_owned(), value);
    }
    config
}

#[cfg(test)]
mod tests;
