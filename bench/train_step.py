"""Training steps of a Llama by PyTorch, timed: the peer of `metier bench --step`.

requires: torch==2.15.0, transformers==5.24.0, peft==0.21.2

    python bench/train_step.py --model s --dtype f32 --mode eager --seconds 10
    python bench/train_step.py --model m --dtype bf16 --mode compile --seconds 10 --serve

Prints one line of JSON. With `--serve` it warms up, prints a line `{"ready": true, ...}`, and then for every line `go`
on standard input trains for that many seconds and prints its line; between turns it sleeps and gives memory back.

A step is forward, backward, clipping at 1.0 and AdamW. `s`, `10m` and `m` are a plain model written below, with what PyTorch
has for it: scaled_dot_product_attention, rms_norm, fused AdamW, and for the loss linear_cross_entropy in chunks
when eager (torch.compile makes its own loss faster). `135m-full` and `135m-lora` are LlamaForCausalLM of transformers, the latter with
LoRA of peft on all linear layers. `135m-dpo-lora` is the same on two pairs of texts, the second half of each a reply, with TRL's
sigmoid loss; the reference is the model with its adapter off, and the head sees replies only, as in TRL. `bf16` is autocast: weights, moments and the residual stream stay f32.

Weights and tokens come from integer hashes of names and places, so that another program can make the same ones and
compare the loss. Matrices are even(name, index) / 32 and norms 1, by the names transformers gives them; LoRA's A
likewise, its B zero.
"""

import argparse
import ctypes
import gc
import json
import math
import resource
import sys
import time
from importlib import metadata

import torch
from torch import nn
from torch.nn import functional

MODELS = {
    "s": {"vocabulary": 4096, "hidden": 256, "layers": 6, "heads": 8, "kv_heads": 8, "ffn": 688, "theta": 1e4, "batch": 8, "context": 256},
    "10m": {"vocabulary": 8192, "hidden": 320, "layers": 6, "heads": 5, "kv_heads": 5, "ffn": 864, "theta": 1e4, "batch": 4, "context": 512},
    "m": {"vocabulary": 32000, "hidden": 512, "layers": 8, "heads": 8, "kv_heads": 8, "ffn": 1376, "theta": 1e4, "batch": 4, "context": 512},
    "135m-full": {"vocabulary": 49152, "hidden": 576, "layers": 30, "heads": 9, "kv_heads": 3, "ffn": 1536, "theta": 1e5, "batch": 1, "context": 1024},
    "135m-dpo-lora": {"vocabulary": 49152, "hidden": 576, "layers": 30, "heads": 9, "kv_heads": 3, "ffn": 1536, "theta": 1e5, "batch": 4, "context": 512},
    "135m-lora": {"vocabulary": 49152, "hidden": 576, "layers": 30, "heads": 9, "kv_heads": 3, "ffn": 1536, "theta": 1e5, "batch": 1, "context": 2048},
}
EPSILON = 1e-5
ADAMW = {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
CLIP = 1.0
LORA_RANK = 16
LORA_ALPHA = 32
DPO_BETA = 0.1
# Batches that take turns.
BATCHES = 4
# A turn has at least so many timed steps.
FEWEST_STEPS = 3
# The loss that is reported belongs to the model after so many steps.
LOSS_AFTER = 3
# So many numbers are hashed at a time, so that making weights does not set the peak of memory.
CHUNK = 1 << 20
MASK = (1 << 64) - 1
FUSED_LOSS = hasattr(functional, "linear_cross_entropy")


def signed(number):
    """An unsigned 64-bit integer as PyTorch's signed one with the same bits."""
    return number - (1 << 64) if number >> 63 else number


def shifted(state, places):
    """A logical shift to the right; PyTorch's own keeps the sign."""
    return (state >> places) & ((1 << (64 - places)) - 1)


def mixed(state):
    """SplitMix64 of every element."""
    state = state + signed(0x9E3779B97F4A7C15)
    state = (state ^ shifted(state, 30)) * signed(0xBF58476D1CE4E5B9)
    state = (state ^ shifted(state, 27)) * signed(0x94D049BB133111EB)
    return state ^ shifted(state, 31)


def name_hash(name):
    """FNV-1a."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


@torch.no_grad()
def fill(parameter, name):
    """Sets a parameter to what its name says."""
    if parameter.dim() == 1:
        parameter.fill_(1.0)
    elif "lora_B" in name:
        parameter.zero_()
    else:
        flat = parameter.view(-1)
        for start in range(0, flat.numel(), CHUNK):
            part = flat[start : start + CHUNK]
            index = torch.arange(start, start + part.numel()) + signed(name_hash(name))
            # 24 bits, so exact in f32: a number in -1..1.
            part.copy_((shifted(mixed(index), 40).to(torch.float32) / (1 << 23) - 1.0) / 32)


def batches(shape):
    """Pairs of ids and targets that mostly follow a rule, so that there is something to learn."""
    rows, context, vocabulary = BATCHES * shape["batch"], shape["context"], shape["vocabulary"]
    numbers = torch.arange(rows)
    stream = [(numbers + 1) % vocabulary]
    for place in range(1, context + 1):
        state = mixed(1_000_003 * numbers + place)
        ruled = (stream[-1] * 5 + 3) % vocabulary
        stream.append(torch.where(shifted(state, 62) == 0, shifted(state, 8) % vocabulary, ruled))
    ids = torch.stack(stream, 1)
    return [
        (part[:, :-1].contiguous(), part[:, 1:].contiguous().view(-1)) for part in ids.split(shape["batch"])
    ]


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return functional.rms_norm(x, self.weight.shape, self.weight, EPSILON)


def rotated(x_bthd, cosine, sine):
    cosine, sine = cosine.to(x_bthd.dtype), sine.to(x_bthd.dtype)
    first, second = x_bthd.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        hidden, self.heads = shape["hidden"], shape["heads"]
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x, cosine, sine):
        query, key, value = (
            projection(x).unflatten(-1, (self.heads, -1)) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = rotated(query, cosine, sine), rotated(key, cosine, sine)
        mixed_bhtd = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True
        )
        return self.o_proj(mixed_bhtd.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape["hidden"], shape["ffn"], bias=False)
        self.up_proj = nn.Linear(shape["hidden"], shape["ffn"], bias=False)
        self.down_proj = nn.Linear(shape["ffn"], shape["hidden"], bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = Norm(shape["hidden"])
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape["hidden"])
        self.mlp = FeedForward(shape)

    def forward(self, x, cosine, sine):
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape["vocabulary"], shape["hidden"])
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape["layers"]))
        self.norm = Norm(shape["hidden"])
        width = shape["hidden"] // shape["heads"]
        angle = torch.outer(torch.arange(shape["context"]), shape["theta"] ** (-torch.arange(0, width, 2) / width))
        self.register_buffer("cosine", angle.cos()[None, :, None], persistent=False)
        self.register_buffer("sine", angle.sin()[None, :, None], persistent=False)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cosine, self.sine)
        return self.norm(x)


class Llama(nn.Module):
    """A plain Llama whose head is its embedding."""

    def __init__(self, shape, chunked):
        super().__init__()
        self.model = Decoder(shape)
        # PyTorch before 2.15 has no product with the head and loss in one.
        self.options = nn.LinearCrossEntropyOptions() if chunked and FUSED_LOSS else None

    def forward(self, ids, targets):
        x = self.model(ids).flatten(0, 1)
        weight = self.model.embed_tokens.weight
        if FUSED_LOSS:
            return functional.linear_cross_entropy(x, weight, targets, options=self.options)
        return functional.cross_entropy(functional.linear(x, weight), targets)


class Transformers(nn.Module):
    """LlamaForCausalLM with its loss."""

    def __init__(self, shape, lora):
        super().__init__()
        import transformers

        settings = transformers.LlamaConfig(
            vocab_size=shape["vocabulary"],
            hidden_size=shape["hidden"],
            intermediate_size=shape["ffn"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            max_position_embeddings=8192,
            rms_norm_eps=EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": shape["theta"]},
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",
        )
        self.causal = transformers.LlamaForCausalLM(settings).to(torch.float32)
        if lora:
            import peft

            adapter = peft.LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules="all-linear")
            self.causal = peft.get_peft_model(self.causal, adapter)
        self.causal.train()

    def forward(self, ids, targets):
        logits = self.causal(input_ids=ids, use_cache=False).logits
        return functional.cross_entropy(logits.flatten(0, 1), targets)


class Preferring(Transformers):
    """The same that prefers the first half of a batch to the second, of each text its second half being the reply."""

    def log_probabilities(self, ids, targets):
        reply = ids.shape[1] // 2
        causal = self.causal.base_model.model
        x = causal.model(input_ids=ids, use_cache=False).last_hidden_state[:, reply:]
        logits = causal.lm_head(x).flatten(0, 1)
        losses = functional.cross_entropy(logits, targets.view(ids.shape)[:, reply:].flatten(), reduction="none")
        return -losses.view(len(ids), -1).sum(1)

    def forward(self, ids, targets):
        with torch.no_grad(), self.causal.disable_adapter():
            reference = self.log_probabilities(ids, targets)
        chosen, rejected = (self.log_probabilities(ids, targets) - reference).chunk(2)
        return -functional.logsigmoid(DPO_BETA * (chosen - rejected)).mean()


def plain(name):
    """A parameter's name as in the files that transformers and peft write."""
    for inserted in ("causal.", "base_model.model.", "base_layer.", "default."):
        name = name.replace(inserted, "")
    return name


class Trainer:
    def __init__(self, arguments):
        shape = MODELS[arguments.model]
        self.tokens = shape["batch"] * shape["context"]
        self.batches = batches(shape)
        if "dpo" in arguments.model:
            model = Preferring(shape, lora=True)
        elif arguments.model.startswith("135m"):
            model = Transformers(shape, lora=arguments.model.endswith("lora"))
        else:
            model = Llama(shape, chunked=arguments.mode == "eager")
        for name, parameter in model.named_parameters():
            fill(parameter, plain(name))
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, fused=True, **ADAMW)
        self.loss_of = torch.compile(model) if arguments.mode == "compile" else model
        self.autocast = arguments.dtype == "bf16"
        self.steps = 0
        self.loss = None
        used = ["transformers"] * arguments.model.startswith("135m") + ["peft"] * arguments.model.endswith("lora")
        self.version = ", ".join([torch.__version__] + [f"{name} {metadata.version(name)}" for name in used])

    def step(self):
        ids, targets = self.batches[self.steps % BATCHES]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.loss_of(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.steps == LOSS_AFTER:
            self.loss = float(loss.detach())
        self.steps += 1

    def turn(self, seconds):
        """Trains for some seconds; what it saw. The first step, which finds cold caches, is left out."""
        self.step()
        times = []
        start = time.perf_counter()
        while len(times) < FEWEST_STEPS or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - before)
        return {
            "tokens_per_second": self.tokens / float(torch.tensor(times, dtype=torch.float64).quantile(0.5)),
            "steps": len(times),
            "peak_rss_mib": peak_rss_mib(),
            "version": self.version,
            "torch": torch.__version__,
            # Compiled for AVX2, PyTorch 2.15 makes this not a number, which JSON does not have.
            "loss_after_3_steps": self.loss if self.loss is not None and math.isfinite(self.loss) else None,
        }


def peak_rss_mib():
    """The most memory this process has had; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def give_memory_back():
    """So that several programs that take turns fit into the memory of one machine."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def say(value):
    print(json.dumps(value), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Training steps of a Llama by PyTorch, timed.")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=3, help="steps before the first turn")
    parser.add_argument("--serve", action="store_true", help="take a turn for each line `go` on standard input")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    trainer = Trainer(arguments)
    for _ in range(arguments.warmup):
        trainer.step()
    if not arguments.serve:
        say(trainer.turn(arguments.seconds))
        return
    give_memory_back()
    say({"ready": True, "torch": torch.__version__, "warmup_seconds": time.perf_counter() - start})
    for line in sys.stdin:
        if line.strip() != "go":
            sys.exit(f"standard input: {line.strip()!r} is no turn; a line `go` is")
        report = trainer.turn(arguments.seconds)
        give_memory_back()
        say(report)


if __name__ == "__main__":
    main()
