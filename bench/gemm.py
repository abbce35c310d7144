"""PyTorch's matrix products on the shapes of the raced models, in GFLOP/s, and one matrix by vector in GB/s.

requires: torch==2.15.0

    python bench/gemm.py --seconds 0.3

Prints one object of JSON. For every linear layer and the head of `s`, `m` and `135m`, in f32 and bf16: the forward product
y = x W^T, the gradient of its input dx = dy W, and that of its weight dW = dy^T x. Each is the median of its calls.
`gemv` is y = W x with a matrix larger than any cache, counted in the bytes of W.
"""

import argparse
import json
import time

import torch

# Rows are the tokens of a batch; each layer's shape is (outputs, inputs).
MODELS = {
    "s": {
        "rows": 2048,
        "layers": {"attention": (256, 256), "gate": (688, 256), "down": (256, 688), "head": (4096, 256)},
    },
    "m": {
        "rows": 2048,
        "layers": {"attention": (512, 512), "gate": (1376, 512), "down": (512, 1376), "head": (32000, 512)},
    },
    "135m": {
        "rows": 1024,
        "layers": {
            "query": (576, 576),
            "key": (192, 576),
            "gate": (1536, 576),
            "down": (576, 1536),
            "head": (49152, 576),
        },
    },
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
# 512 MiB in f32.
VECTOR_SHAPE = (16384, 8192)
FEWEST_CALLS = 3


def seconds_of(call, seconds):
    """The median time of a call, after one that warms up."""
    call()
    times = []
    start = time.perf_counter()
    while len(times) < FEWEST_CALLS or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 2]


def products(rows, outputs, inputs, dtype, seconds):
    """GFLOP/s of the three products of a linear layer; each writes where it wrote before."""
    x, weight, dy = (
        torch.randn(shape, dtype=torch.float32).to(dtype) for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))
    )
    y, dx, dweight = torch.empty_like(dy), torch.empty_like(x), torch.empty_like(weight)
    calls = {
        "y = x W^T": lambda: torch.mm(x, weight.t(), out=y),
        "dx = dy W": lambda: torch.mm(dy, weight, out=dx),
        "dW = dy^T x": lambda: torch.mm(dy.t(), x, out=dweight),
    }
    operations = 2.0 * rows * outputs * inputs
    return {name: round(operations / seconds_of(call, seconds) / 1e9, 1) for name, call in calls.items()}


def main():
    parser = argparse.ArgumentParser(description="PyTorch's matrix products on the shapes of the raced models.")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each product")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    report = {"torch": torch.__version__, "threads": arguments.threads, "unit": {"gemm": "GFLOP/s", "gemv": "GB/s"}, "gemm": [], "gemv": {}}
    for model, shape in MODELS.items():
        for layer, (outputs, inputs) in shape["layers"].items():
            for dtype in DTYPES:
                rates = products(shape["rows"], outputs, inputs, DTYPES[dtype], arguments.seconds)
                report["gemm"].append(
                    {"model": model, "layer": layer, "rows": shape["rows"], "outputs": outputs, "inputs": inputs, "dtype": dtype}
                    | rates
                )
    for dtype in DTYPES:
        weight = torch.randn(VECTOR_SHAPE).to(DTYPES[dtype])
        x = torch.randn(VECTOR_SHAPE[1]).to(DTYPES[dtype])
        y = torch.empty(VECTOR_SHAPE[0], dtype=DTYPES[dtype])
        taken = seconds_of(lambda: torch.mv(weight, x, out=y), arguments.seconds)
        report["gemv"][dtype] = round(weight.numel() * weight.element_size() / taken / 1e9, 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
