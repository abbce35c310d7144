use super::kernel::Kernel;

/// What a set A of rows V is worth, by their similarities s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `f(A) = Σ_{i∈V} max(0, max_{j∈A} s_ij)`: every row is near one of the set.
    FacilityLocation,
    /// `f(A) = Σ_{i∈V, j∈A} s_ij − λ Σ_{i,j∈A} s_ij`: near all rows, far from each other.
    GraphCut {
        /// How much being near each other costs.
        lambda: f64,
    },
    /// `f(A) = ln det(S_A + λI)`: the volume that the set spans.
    LogDet {
        /// What is added to each row's similarity to itself.
        lambda: f64,
    },
    /// `f(A) = Σ_{i<j∈A} (1 − s_ij)`: far from each other. A row adds more to a larger set, so it is not submodular.
    DisparitySum,
}

impl Function {
    /// Graph cut with the λ of the paper's program.
    pub const GRAPH_CUT: Self = Self::GraphCut { lambda: 0.4 };
    /// Log-determinant with the λ of the paper's program.
    pub const LOG_DET: Self = Self::LogDet { lambda: 1.0 };

    /// Gains of rows for the empty set.
    pub fn gains(self, kernel: &Kernel) -> Gains<'_> {
        let size = kernel.size();
        let known = match self {
            Self::FacilityLocation | Self::DisparitySum => vec![0.0; size],
            Self::GraphCut { lambda } => (0..size)
                .map(|row| {
                    kernel.row(row).iter().map(|s| f64::from(*s)).sum::<f64>()
                        - lambda * f64::from(kernel.row(row)[row])
                })
                .collect(),
            Self::LogDet { lambda } => (0..size).map(|row| f64::from(kernel.row(row)[row]) + lambda).collect(),
        };
        Gains { function: self, kernel, known, columns: Vec::new() }
    }

    /// Whether no row adds more to a larger set, so that an old gain is a bound of the new one.
    fn is_submodular(self, kernel: &Kernel) -> bool {
        match self {
            Self::FacilityLocation | Self::LogDet { .. } => true,
            Self::GraphCut { lambda } => lambda == 0.0 || kernel.is_positive() && lambda > 0.0,
            Self::DisparitySum => false,
        }
    }
}

/// What rows add to a set that grows.
#[derive(Debug, Clone)]
pub struct Gains<'a> {
    function: Function,
    kernel: &'a Kernel,
    /// Of each row: facility location, its similarity to the nearest of the set; log-determinant, its squared distance from what the set spans; else
    /// its gain.
    known: Vec<f64>,
    /// Log-determinant: of each picked row its column of the Cholesky factor, for all rows.
    columns: Vec<Vec<f64>>,
}

impl<'a> Gains<'a> {
    /// Gains of facility location for a set outside the kernel: `nearest` is each row's similarity to the row of that set it is most similar to.
    pub fn beside(kernel: &'a Kernel, nearest: impl Iterator<Item = f32>) -> Self {
        let known = nearest.map(|similar| f64::from(similar).max(0.0)).collect();
        Self { function: Function::FacilityLocation, kernel, known, columns: Vec::new() }
    }

    pub(super) fn size(&self) -> usize {
        self.kernel.size()
    }

    pub(super) fn is_submodular(&self) -> bool {
        self.function.is_submodular(self.kernel)
    }

    /// What this row adds.
    pub fn gain(&self, row: usize) -> f64 {
        match self.function {
            Function::FacilityLocation => {
                let similar = self.kernel.row(row).iter().zip(&self.known);
                similar.map(|(s, nearest)| (f64::from(*s) - nearest).max(0.0)).sum()
            }
            Function::LogDet { .. } => self.known[row].max(f64::MIN_POSITIVE).ln(),
            Function::GraphCut { .. } | Function::DisparitySum => self.known[row],
        }
    }

    /// Puts a row into the set.
    pub fn add(&mut self, row: usize) {
        let similar = self.kernel.row(row).iter().map(|s| f64::from(*s)).zip(&mut self.known);
        match self.function {
            Function::FacilityLocation => similar.for_each(|(s, nearest)| *nearest = nearest.max(s)),
            Function::GraphCut { lambda } => similar.for_each(|(s, gain)| *gain -= 2.0 * lambda * s),
            Function::DisparitySum => similar.for_each(|(s, gain)| *gain += 1.0 - s),
            Function::LogDet { .. } => {
                let length = self.known[row].max(f64::MIN_POSITIVE).sqrt();
                let mut column: Vec<f64> = self.kernel.row(row).iter().map(|s| f64::from(*s)).collect();
                for earlier in &self.columns {
                    let here = earlier[row];
                    column.iter_mut().zip(earlier).for_each(|(value, other)| *value -= here * other);
                }
                for value in &mut column {
                    *value /= length;
                }
                self.known.iter_mut().zip(&column).for_each(|(left, value)| *left -= value * value);
                self.columns.push(column);
            }
        }
    }
}
