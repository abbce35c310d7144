//! Tensors, the tape, operations with explicit backward, kernels, quantized blocks.
