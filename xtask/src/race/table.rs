//! The races, as data: what runs on our side, what on the peers', and in which environment.

use anyhow::{Context as _, Result};

/// The script of peers that train: PyTorch, started once and taking turns.
const TRAIN_STEP: &str = "bench/train_step.py";
/// The script of peers that answer: llama.cpp, likewise.
const ANSWER: &str = "bench/answer.py";

/// The script of peers that work on texts. It makes the files, which is why peers come first.
const TEXT: &str = "bench/text.py";

/// The script of peers that curate.
const CURATE: &str = "bench/curate.py";

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub enum Rate {
    Tokens,
    Bytes,
    Documents,
}

impl Rate {
    /// Its unit.
    pub fn unit(self) -> &'static str {
        ["tokens/s", "bytes/s", "documents/s"][self as usize]
    }

    /// This one of the rates that a turn has.
    pub fn of(self, rates: [Option<f64>; 3]) -> Result<f64> {
        rates[self as usize].with_context(|| format!("a turn's figures have no rate in {}", self.unit()))
    }
}

/// One race.
#[derive(Debug)]
pub struct Race {
    /// Its name, and that of its receipt.
    pub name: &'static str,
    /// What every contender does.
    pub work: &'static str,
    /// How its outcome is told.
    pub rate: Rate,
    /// Our arguments; `--seconds`, `--threads` and `--json` are added.
    pub ours: &'static [&'static str],
    /// Variables set for us.
    pub our_environment: &'static [(&'static str, &'static str)],
    /// The peers' Python script; it knows `--seconds`, `--threads` and `--serve`.
    pub script: &'static str,
    /// What all peers' arguments begin with.
    pub script_arguments: &'static [&'static str],
    /// Variables set for every peer.
    pub peer_environment: &'static [(&'static str, &'static str)],
    /// Who we race against.
    pub peers: &'static [Peer],
    /// The asset, as the tests name it, that everyone is given as `--model`.
    pub model: Option<&'static str>,
    /// How long a turn is when the caller does not say.
    pub seconds: u32,
}

/// One way of running the peers' script.
#[derive(Debug)]
pub struct Peer {
    /// What it is called in the receipt.
    pub name: &'static str,
    /// Its own arguments.
    pub arguments: &'static [&'static str],
}

const F32_EAGER: Peer = Peer { name: "PyTorch f32 eager", arguments: &["--dtype", "f32", "--mode", "eager"] };
const F32_COMPILED: Peer = Peer { name: "PyTorch f32 compiled", arguments: &["--dtype", "f32", "--mode", "compile"] };
const BF16_EAGER: Peer = Peer { name: "PyTorch bf16 eager", arguments: &["--dtype", "bf16", "--mode", "eager"] };
const BF16_COMPILED: Peer =
    Peer { name: "PyTorch bf16 compiled", arguments: &["--dtype", "bf16", "--mode", "compile"] };
const TOKENIZERS: Peer = Peer { name: "tokenizers", arguments: &["--peer", "tokenizers"] };
const TIKTOKEN: Peer = Peer { name: "tiktoken", arguments: &["--peer", "tiktoken"] };
const GIGATOKEN: Peer = Peer { name: "gigatoken", arguments: &["--peer", "gigatoken"] };
const ALL: &[Peer] = &[F32_EAGER, F32_COMPILED, BF16_EAGER, BF16_COMPILED];
const F32: &[Peer] = &[F32_EAGER, F32_COMPILED];

/// Dolma's newest of each, and its default for languages.
const TAGGERS: &str = "tag=[{method=\"c4\",version=2},{method=\"gopher\",version=2},{method=\"pii\"},\
                       {method=\"language\",model=\"target/bench/corpus/lid.176.ftz\"}]";

const LLAMA_CPP: &[Peer] = &[Peer { name: "llama.cpp", arguments: &[] }];

const S: &str = "training step of a 5.8M Llama (vocabulary 4,096, hidden 256, 6 layers), 8 x 256 tokens, AdamW";

/// Every race, in the order in which they are listed.
pub const RACES: &[Race] = &[
    Race {
        name: "train-s",
        work: S,
        rate: Rate::Tokens,
        ours: &["bench", "--step", "s", "--precision", "bf16"],
        our_environment: &[],
        script: TRAIN_STEP,
        script_arguments: &["--model", "s"],
        peer_environment: &[],
        peers: ALL,
        model: None,
        seconds: 10,
    },
    Race {
        name: "train-10m",
        work: "training step of a 10.1M Llama (vocabulary 8,192, hidden 320, 6 layers), 4 x 512 tokens, AdamW",
        rate: Rate::Tokens,
        ours: &["bench", "--step", "10m", "--precision", "bf16"],
        our_environment: &[],
        script: TRAIN_STEP,
        script_arguments: &["--model", "10m"],
        peer_environment: &[],
        peers: ALL,
        model: None,
        seconds: 10,
    },
    Race {
        name: "train-m",
        work: "training step of a 41.7M Llama (vocabulary 32,000, hidden 512, 8 layers), 4 x 512 tokens, AdamW",
        rate: Rate::Tokens,
        ours: &["bench", "--step", "m", "--precision", "bf16"],
        our_environment: &[],
        script: TRAIN_STEP,
        script_arguments: &["--model", "m"],
        peer_environment: &[],
        peers: ALL,
        model: None,
        seconds: 20,
    },
    Race {
        name: "train-135m-full",
        work: "training step of a 135M Llama (the shape of SmolLM2-135M), all weights, 1 x 1,024 tokens, AdamW",
        rate: Rate::Tokens,
        ours: &["bench", "--step", "135m-full", "--precision", "bf16"],
        our_environment: &[],
        script: TRAIN_STEP,
        script_arguments: &["--model", "135m-full"],
        peer_environment: &[],
        peers: ALL,
        model: None,
        seconds: 30,
    },
    Race {
        name: "train-135m-lora",
        work: "training step of LoRA, rank 16 on all linear layers of a 135M Llama, 1 x 2,048 tokens, AdamW",
        rate: Rate::Tokens,
        ours: &["bench", "--step", "135m-lora", "--precision", "bf16"],
        our_environment: &[],
        script: TRAIN_STEP,
        script_arguments: &["--model", "135m-lora"],
        peer_environment: &[],
        peers: ALL,
        model: None,
        seconds: 40,
    },
    Race {
        name: "dpo-135m-lora",
        work: "training step of DPO with LoRA, rank 16 on all linear layers of a 135M Llama, 2 pairs of 512 tokens a text, half of each a reply, AdamW",
        rate: Rate::Tokens,
        ours: &["bench", "--step", "135m-dpo-lora", "--precision", "bf16"],
        our_environment: &[],
        script: TRAIN_STEP,
        script_arguments: &["--model", "135m-dpo-lora"],
        peer_environment: &[],
        peers: ALL,
        model: None,
        seconds: 40,
    },
    // As on a processor without AMX; PyTorch's own loops, oneDNN and MKL are told each in its way.
    Race {
        name: "train-s-f32-avx512",
        work: S,
        rate: Rate::Tokens,
        ours: &["bench", "--step", "s"],
        our_environment: &[("METIER_KERNEL", "avx512")],
        script: TRAIN_STEP,
        script_arguments: &["--model", "s"],
        peer_environment: &[
            ("ATEN_CPU_CAPABILITY", "avx512"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX512"),
            ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE"),
        ],
        peers: F32,
        model: None,
        seconds: 10,
    },
    // As on a processor without AVX-512.
    Race {
        name: "train-s-f32-avx2",
        work: S,
        rate: Rate::Tokens,
        ours: &["bench", "--step", "s"],
        our_environment: &[("METIER_KERNEL", "avx2")],
        script: TRAIN_STEP,
        script_arguments: &["--model", "s"],
        peer_environment: &[
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ],
        peers: F32,
        model: None,
        seconds: 10,
    },
    Race {
        name: "prefill-smollm2-135m-q4_1",
        work: "a prompt of 1,024 tokens read by SmolLM2-135M-Instruct in Q4_1",
        rate: Rate::Tokens,
        ours: &["bench", "--answer", "prefill"],
        our_environment: &[],
        script: ANSWER,
        script_arguments: &["--answer", "prefill"],
        peer_environment: &[],
        peers: LLAMA_CPP,
        model: Some("smollm2"),
        seconds: 5,
    },
    Race {
        name: "decode-smollm2-135m-q4_1",
        work: "128 tokens, one after the other, by SmolLM2-135M-Instruct in Q4_1",
        rate: Rate::Tokens,
        ours: &["bench", "--answer", "decode"],
        our_environment: &[],
        script: ANSWER,
        script_arguments: &["--answer", "decode"],
        peer_environment: &[],
        peers: LLAMA_CPP,
        model: Some("smollm2"),
        seconds: 5,
    },
    Race {
        name: "start-smollm2-135m-q4_1",
        work: "SmolLM2-135M-Instruct Q4_1: opening the model, and the first token after a prompt of 16",
        rate: Rate::Tokens,
        ours: &["bench", "--answer", "start"],
        our_environment: &[],
        script: ANSWER,
        script_arguments: &["--answer", "start"],
        peer_environment: &[],
        peers: LLAMA_CPP,
        model: Some("smollm2"),
        seconds: 5,
    },
    Race {
        name: "batch-smollm2-135m-q4_1",
        work: "128 tokens to each of eight texts of 16 at once, by SmolLM2-135M-Instruct in Q4_1",
        rate: Rate::Tokens,
        ours: &["bench", "--answer", "batch"],
        our_environment: &[],
        script: ANSWER,
        script_arguments: &["--answer", "batch"],
        peer_environment: &[],
        peers: LLAMA_CPP,
        model: Some("smollm2"),
        seconds: 5,
    },
    Race {
        name: "encode-gpt2",
        work: "41 MB of English to ids by GPT-2's vocabulary, by a tokenizer that has seen no text before",
        rate: Rate::Tokens,
        ours: &["bench", "--encode", "target/bench/text/gpt2.json", "--text", "target/bench/text/english.txt"],
        our_environment: &[],
        script: TEXT,
        script_arguments: &["--work", "encode", "--state", "cold"],
        peer_environment: &[],
        peers: &[TOKENIZERS, TIKTOKEN, GIGATOKEN],
        model: None,
        seconds: 5,
    },
    Race {
        name: "encode-gpt2-warm",
        work: "41 MB of English to ids by GPT-2's vocabulary, by a tokenizer that has encoded the text before",
        rate: Rate::Tokens,
        ours: &[
            "bench",
            "--encode",
            "target/bench/text/gpt2.json",
            "--warm",
            "--text",
            "target/bench/text/english.txt",
        ],
        our_environment: &[],
        script: TEXT,
        script_arguments: &["--work", "encode", "--state", "warm"],
        peer_environment: &[],
        peers: &[TOKENIZERS, TIKTOKEN, GIGATOKEN],
        model: None,
        seconds: 5,
    },
    // The tokens are those of the vocabulary.
    Race {
        name: "bpe-train",
        work: "a byte-level BPE vocabulary of 32,000 tokens out of 41 MB of English",
        rate: Rate::Tokens,
        ours: &["bench", "--learn", "32000", "--text", "target/bench/text/english.txt"],
        our_environment: &[],
        script: TEXT,
        script_arguments: &["--work", "learn"],
        peer_environment: &[],
        peers: &[TOKENIZERS],
        model: None,
        seconds: 1,
    },
    // The peers come first and make the documents.
    Race {
        name: "curate-tag",
        work: "C4's, Gopher's and PII tags and the language (lid.176.ftz) of 0.5 GB of documents in 16 .jsonl.gz",
        rate: Rate::Bytes,
        ours: &["bench", "--text", "target/bench/corpus/documents", "--memory", "2GiB", "--curate", TAGGERS],
        our_environment: &[],
        script: CURATE,
        script_arguments: &["--work", "tag"],
        peer_environment: &[],
        peers: &[
            Peer { name: "dolma", arguments: &["--peer", "dolma"] },
            Peer { name: "datatrove", arguments: &["--peer", "datatrove"] },
        ],
        model: None,
        seconds: 20,
    },
    Race {
        name: "curate-minhash",
        work: "near duplicates by MinHash of 5-grams of words among 0.5 GB of documents in 16 .jsonl.gz; the peer's signatures only",
        rate: Rate::Documents,
        ours: &[
            "bench",
            "--text",
            "target/bench/corpus/documents",
            "--memory",
            "2GiB",
            "--curate",
            "dedup=[{method=\"minhash\"}]",
        ],
        our_environment: &[],
        script: CURATE,
        script_arguments: &["--work", "minhash"],
        peer_environment: &[],
        peers: &[Peer { name: "datatrove", arguments: &["--peer", "datatrove"] }],
        model: None,
        seconds: 20,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn races_have_names_and_peers_of_their_own() {
        let names: BTreeSet<_> = RACES.iter().map(|race| race.name).collect();
        assert_eq!(names.len(), RACES.len());
        for race in RACES {
            let peers: BTreeSet<_> = race.peers.iter().map(|peer| peer.name).collect();
            assert!(!peers.is_empty() && peers.len() == race.peers.len(), "{}", race.name);
        }
    }
}
