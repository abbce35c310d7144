//! The part of Python's pickle language that a state dict needs. Nothing is run: a class is a name in a list here, and what
//! the file asks for besides is refused by name.
//!
//! Source: Python's `pickletools`, and PyTorch's `torch/_utils.py` and `torch/serialization.py`.

use metier_core::{Error, Fault, Place, Result};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Pickles of more bytes are refused: names and shapes of the largest models take a few megabytes.
const MOST_BYTES: usize = 64 << 20;

/// Faults of more tensors than this are not shown.
const MOST_FAULTS: usize = 20;
/// More dimensions no tensor has, and more arguments nothing that is called.
const MOST_PARTS: usize = 8;

/// A value of a pickle, by its number.
type Id = u32;

/// A kind of numbers: PyTorch's class of the storage, ggml's name where weights may have it, and bytes of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub class: &'static str,
    pub block: Option<&'static str>,
    pub bytes: usize,
}

static KINDS: &[Kind] = &[
    Kind { class: "BFloat16Storage", block: Some("BF16"), bytes: 2 },
    Kind { class: "BoolStorage", block: None, bytes: 1 },
    Kind { class: "ByteStorage", block: None, bytes: 1 },
    Kind { class: "CharStorage", block: None, bytes: 1 },
    Kind { class: "DoubleStorage", block: None, bytes: 8 },
    Kind { class: "FloatStorage", block: Some("F32"), bytes: 4 },
    Kind { class: "HalfStorage", block: Some("F16"), bytes: 2 },
    Kind { class: "IntStorage", block: None, bytes: 4 },
    Kind { class: "LongStorage", block: None, bytes: 8 },
    Kind { class: "ShortStorage", block: None, bytes: 2 },
];

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(&'static Kind),
}

/// Numbers in a file of their own, or behind the pickles.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub key: Arc<str>,
    pub kind: &'static Kind,
    pub count: u64,
}

/// A tensor: some numbers of a storage.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

#[derive(Debug, Clone)]
enum Node {
    /// Something whose value nobody asks for.
    Other,
    Whole(i64),
    Text(Arc<str>),
    /// A tuple or a list.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Class(Class),
    Storage(Storage),
    Tensor(Box<Tensor>),
}

/// What a pickle holds.
pub(super) struct Pickle {
    nodes: Vec<Node>,
    top: Id,
}

/// Reads the pickle at the begin of `bytes`, and says how long it is.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<(Pickle, usize)> {
    let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
    let mut machine =
        Machine { path, bytes, at: 0, nodes: vec![Node::Other], stack: vec![], marks: vec![], memo: HashMap::new() };
    let top = machine.run()?;
    Ok((Pickle { nodes: machine.nodes, top }, machine.at))
}

impl Pickle {
    fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::Other)
    }

    /// The texts of a list.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Node::List(items) = self.node(self.top) else { return None };
        let text = |id: &Id| match self.node(*id) {
            Node::Text(text) => Some(text.to_string()),
            _ => None,
        };
        items.iter().map(text).collect()
    }

    /// The tensors of a state dict, which may lie under a name of training programs.
    pub(super) fn tensors(&self, path: &Path) -> Result<Vec<(String, Tensor)>> {
        let Node::Dict(mut entries) = self.node(self.top).clone() else {
            return Err(Error::file(path, "the file holds no state dict").hint("save `model.state_dict()`"));
        };
        let named = |id: Id| match self.node(id) {
            Node::Text(text) => Some(&**text),
            _ => None,
        };
        let inner = entries.iter().find_map(|(key, value)| match (named(*key), self.node(*value)) {
            (Some("model" | "model_state_dict" | "state_dict"), Node::Dict(entries)) => Some(entries.clone()),
            _ => None,
        });
        if let Some(inner) = inner {
            entries = inner;
        }
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        let mut faults = Vec::new();
        for (key, value) in entries {
            let Some(name) = named(key) else {
                faults.push(Fault::new(Place::file(path), "a key of the state dict is no text"));
                break;
            };
            match self.node(value) {
                _ if !names.insert(name) => {
                    faults.push(Fault::new(Place::file(path).with_key(name), "two tensors have this name"));
                    break;
                }
                Node::Tensor(tensor) => tensors.push((name.to_owned(), Tensor::clone(tensor))),
                _ => faults.push(Fault::new(Place::file(path).with_key(name), "it is no tensor")),
            }
            if faults.len() >= MOST_FAULTS {
                break;
            }
        }
        Error::collect(tensors, faults)
    }
}

/// Python's unpickler, without Python.
struct Machine<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::user(Place::file(self.path).with_key(format!("the pickle at byte {}", self.at)), message)
    }

    fn cut(&self) -> Error {
        let message = if self.bytes.len() == MOST_BYTES {
            "it has more than 64 MiB"
        } else {
            "it ends too early: the file was cut"
        };
        self.error(message)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let to = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let taken = to.and_then(|to| self.bytes.get(self.at..to)).ok_or_else(|| self.cut())?;
        self.at += taken.len();
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<u64> {
        let mut all = [0; 8];
        all[..N].copy_from_slice(self.take(N as u64)?);
        Ok(u64::from_le_bytes(all))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| self.cut())?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map(str::to_owned).map_err(|_| self.error("a name is no UTF-8"))
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.error("a text is no UTF-8"))?;
        self.push(Node::Text(text.into()))
    }

    fn push(&mut self, node: Node) -> Result<()> {
        let id = Id::try_from(self.nodes.len()).map_err(|_| self.error("it has too many values"))?;
        self.nodes.push(node);
        self.stack.push(id);
        Ok(())
    }

    /// A value nobody asks for; all of them are one.
    fn push_other(&mut self) {
        self.stack.push(0);
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.error("it takes a value that it never made"));
        }
        self.stack.pop().ok_or_else(|| self.error("it takes a value that it never made"))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| self.error("it takes a value that it never made"))
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let from = self.marks.pop().ok_or_else(|| self.error("it goes back to a mark that it never made"))?;
        if from > self.stack.len() {
            return Err(self.error("it goes back to a mark that is gone"));
        }
        Ok(self.stack.split_off(from))
    }

    fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::Other)
    }

    fn run(&mut self) -> Result<Id> {
        loop {
            let code = self.take(1)?[0];
            match code {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                // The state of a dict says nothing about its tensors.
                b'0' | b'b' => drop(self.pop()?),
                b'1' => drop(self.marked()?),
                b'N' | 0x88 | 0x89 => self.push_other(),
                b'G' => {
                    self.take(8)?;
                    self.push_other();
                }
                b'K' => self.whole::<1>()?,
                b'M' => self.whole::<2>()?,
                b'J' => {
                    let number = self.number::<4>()? as u32;
                    self.push(Node::Whole(i64::from(number.cast_signed())))?;
                }
                0x8a => self.long()?,
                b'X' | b'T' => {
                    let length = self.number::<4>()?;
                    self.text(length)?;
                }
                0x8c | b'U' => {
                    let length = self.number::<1>()?;
                    self.text(length)?;
                }
                b')' | b']' => self.push(Node::List(Vec::new()))?,
                b't' | b'l' => {
                    let items = self.marked()?;
                    self.push(Node::List(items))?;
                }
                0x85..=0x87 => {
                    let mut items = Vec::new();
                    for _ in 0..=code - 0x85 {
                        items.push(self.pop()?);
                    }
                    items.reverse();
                    self.push(Node::List(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.marked()?;
                    self.append(items)?;
                }
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.marked()?;
                    self.set(&items)?;
                }
                b'q' => self.remember::<1>()?,
                b'r' => self.remember::<4>()?,
                0x94 => {
                    let place = self.memo.len() as u64;
                    self.memo.insert(place, self.top()?);
                }
                b'h' => self.recall::<1>()?,
                b'j' => self.recall::<4>()?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.class(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Node::Text(module), Node::Text(name)) = (self.node(module).clone(), self.node(name).clone())
                    else {
                        return Err(self.error("it names a class by something that is no text"));
                    };
                    self.class(&module, &name)?;
                }
                b'R' => self.call()?,
                b'Q' => self.storage()?,
                other => {
                    let message = format!("the instruction {other:#04x} is none that a state dict needs");
                    return Err(self
                        .error(message)
                        .hint("save `model.state_dict()`, or convert the model to safetensors"));
                }
            }
        }
    }

    fn whole<const N: usize>(&mut self) -> Result<()> {
        let number = self.number::<N>()?;
        self.push(Node::Whole(number.cast_signed()))
    }

    /// A number of any length, of which those beyond 64 bits say nothing.
    fn long(&mut self) -> Result<()> {
        let length = self.number::<1>()?;
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            self.push_other();
            return Ok(());
        }
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Whole(i64::from_le_bytes(all)))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match self.nodes.get_mut(list as usize) {
            Some(Node::List(all)) => {
                all.extend(items);
                Ok(())
            }
            _ => Err(self.error("it appends to what is no list")),
        }
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        match self.nodes.get_mut(dict as usize) {
            Some(Node::Dict(all)) if items.len().is_multiple_of(2) => {
                all.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(self.error("it sets keys of what is no dict")),
        }
    }

    fn remember<const N: usize>(&mut self) -> Result<()> {
        let place = self.number::<N>()?;
        self.memo.insert(place, self.top()?);
        Ok(())
    }

    fn recall<const N: usize>(&mut self) -> Result<()> {
        let place = self.number::<N>()?;
        let id = self.memo.get(&place).copied();
        self.stack.push(id.ok_or_else(|| self.error("it asks for a value that it never kept"))?);
        Ok(())
    }

    fn class(&mut self, module: &str, name: &str) -> Result<()> {
        let storage = || KINDS.iter().find(|kind| kind.class == name).map(Class::Storage);
        let class = match (module, name) {
            ("collections", "OrderedDict") => Some(Class::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Class::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Class::RebuildParameter),
            ("torch", "Size") => Some(Class::Size),
            ("torch" | "torch.storage" | "torch.cuda", _) => storage(),
            _ => None,
        };
        let class = class.ok_or_else(|| {
            self.error(format!("it asks for `{module}.{name}`, and no code of a file is run")).hint(
                "only state dicts of plain tensors are read: save `model.state_dict()`, or convert to safetensors",
            )
        })?;
        self.push(Node::Class(class))
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        let Node::List(arguments) = self.node(arguments) else {
            return Err(self.error("it calls something with what is no tuple"));
        };
        let arguments: Vec<Id> = arguments.iter().copied().take(MOST_PARTS).collect();
        let Node::Class(class) = *self.node(class) else {
            return Err(self.error("it calls what is no class"));
        };
        match class {
            Class::OrderedDict => self.push(Node::Dict(Vec::new())),
            Class::Size | Class::RebuildParameter => {
                let first = arguments.first().copied();
                self.stack.push(first.ok_or_else(|| self.error("a parameter of nothing"))?);
                Ok(())
            }
            Class::RebuildTensor => {
                let tensor = self.tensor(&arguments);
                let tensor = tensor.ok_or_else(|| self.error("a tensor's parts are not those of PyTorch"))?;
                self.push(Node::Tensor(Box::new(tensor)))
            }
            Class::Storage(_) => Err(self.error("it makes a storage without a file")),
        }
    }

    fn tensor(&self, arguments: &[Id]) -> Option<Tensor> {
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let Node::Storage(storage) = self.node(*storage) else { return None };
        let whole = |id: Id| match self.node(id) {
            Node::Whole(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let list = |id: Id| match self.node(id) {
            Node::List(items) if items.len() <= MOST_PARTS => {
                items.iter().map(|id| whole(*id)).collect::<Option<Vec<u64>>>()
            }
            _ => None,
        };
        Some(Tensor {
            storage: storage.clone(),
            offset: whole(*offset)?,
            shape: list(*shape)?,
            strides: list(*strides)?,
        })
    }

    /// A storage that the file keeps elsewhere: its class, its key, where it was, and how many numbers it has.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let found = match self.node(id) {
            Node::List(parts) => match parts.as_slice() {
                [word, class, key, _, count, ..] => {
                    match (self.node(*word), self.node(*class), self.node(*key), self.node(*count)) {
                        (Node::Text(word), Node::Class(Class::Storage(kind)), Node::Text(key), Node::Whole(count))
                            if **word == *"storage" =>
                        {
                            let count = u64::try_from(*count).ok();
                            count.map(|count| Storage { key: key.clone(), kind, count })
                        }
                        _ => None,
                    }
                }
                _ => None,
            },
            _ => None,
        };
        let storage = found.ok_or_else(|| self.error("it refers to something that is no storage of numbers"))?;
        self.push(Node::Storage(storage))
    }
}
