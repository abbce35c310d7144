//! Linear layers in fewer bits, to train an adapter on.

use crate::decoder::Decoder;
use metier_compute::Dtype;

impl Decoder {
    /// Stores the weights of all linear layers in [NF4](metier_compute::block::Nf4); embeddings, norms, biases and the head stay as
    /// they are. A layer that is quantized already stays as it is.
    pub fn quantize_linears(&mut self) {
        for site in self.sites() {
            let weight = self.parameters.get_mut(site.weight);
            if weight.dtype() == Dtype::F32 {
                *weight = weight.in_nf4();
            }
        }
    }

    /// Makes `f32` of all weights in fewer bits: the numbers that products saw before.
    pub fn dequantize(&mut self) {
        let stored = self.parameters.iter().filter(|(_, _, tensor, _)| tensor.dtype() != Dtype::F32);
        let ids: Vec<_> = stored.map(|(id, ..)| id).collect();
        for id in ids {
            // To write is to make numbers of what was stored, and to let go of that.
            self.parameters.get_mut(id).data_mut();
        }
    }
}
