"""Draws JSON schemas that replies are held to, and looks with another program whether the replies are as the schemas say.

    python schemas.py draw SEED COUNT     writes COUNT drawn schemas, then those of real functions, one a line
    python schemas.py check FILE          FILE has {"schema": .., "reply": "text"} a line

The drawn ones cover every keyword that is carried out. The real ones are the parameters of functions of the Berkeley
Function-Calling Leaderboard, with its names of types made those of JSON schemas.

requires: jsonschema==4.26.0
requires alone: bfcl-eval==2026.3.23
"""

import importlib.metadata
import json
import random
import sys

import jsonschema

TYPES = {"dict": "object", "float": "number", "tuple": "array"}
FILES = ["simple_python", "live_simple", "multiple", "live_multiple"]
REAL = 200


def draw(random, depth):
    kinds = [boolean, null, integer, number, string, pattern, form, enum, const, multiple]
    if depth > 0:
        kinds += [array, tuple_, object_, object_, map_, any_of, one_of, all_of, reference, types]
    return random.choice(kinds)(random, depth)


def boolean(random, depth):
    return {"type": "boolean"}


def null(random, depth):
    return {"type": "null", "description": "nothing"}


def integer(random, depth):
    least = random.randint(-2000, 2000)
    schema = {"type": "integer", "minimum": least, "exclusiveMaximum": least + random.randint(1, 300)}
    return random.choice([schema, {"type": "integer", "minimum": least}, {"type": "integer", "maximum": least}])


def number(random, depth):
    least = random.choice([round(random.uniform(-50, 50), 2), random.randint(-20, 20), 0])
    most = least + random.choice([0.5, 0.01, 3, 1000])
    below, above = random.choice(["minimum", "exclusiveMinimum"]), random.choice(["maximum", "exclusiveMaximum"])
    return {"type": "number"} | random.choice([{below: least, above: most}, {below: least}, {above: most}, {below: -most, above: -least}])


def multiple(random, depth):
    return {"type": "integer", "multipleOf": random.choice([2, 5, 12]), "minimum": 0, "maximum": 600}


def string(random, depth):
    least = random.randint(0, 4)
    return {"type": "string", "minLength": least, "maxLength": least + random.randint(0, 8)}


def pattern(random, depth):
    return {"type": "string", "pattern": random.choice(["^[a-c]{2,5}$", "^(yes|no), [0-9]+$", "^\\d{4}-[A-Z]{2}$", "^é+x?$"])}


def form(random, depth):
    return {"type": "string", "format": random.choice(["date", "ipv4", "uuid", "email"])}


def enum(random, depth):
    return {"enum": random.sample(["red", 7, None, {"a": [1]}, "é\"\\", -0.5, True], 3)}


def const(random, depth):
    return {"const": random.choice(["one word", 12, {"k": None}, [1, "a"]])}


def array(random, depth):
    least = random.randint(0, 2)
    schema = {"type": "array", "items": draw(random, depth - 1), "minItems": least}
    return schema | ({"maxItems": least + random.randint(0, 3)} if random.random() < 0.8 else {})


def tuple_(random, depth):
    first = [draw(random, depth - 1) for _ in range(random.randint(1, 3))]
    return {"type": "array", "prefixItems": first, "items": random.choice([False, draw(random, depth - 1)]), "minItems": len(first), "maxItems": len(first) + 2}


def object_(random, depth):
    names = random.sample(["a", "key 1", "é", "$x", "type", "a_b", "\"q\""], random.randint(0, 4))
    schema = {"type": "object", "properties": {name: draw(random, depth - 1) for name in names}, "required": [name for name in names if random.random() < 0.5]}
    return schema | random.choice([{"additionalProperties": False}, {"additionalProperties": draw(random, 0)}, {}])


def map_(random, depth):
    if random.random() < 0.5:
        return {"type": "object", "patternProperties": {"^k[0-9]$": draw(random, depth - 1)}, "additionalProperties": False}
    return {"type": "object", "additionalProperties": draw(random, depth - 1), "title": "a map"}


def any_of(random, depth):
    return {"anyOf": [draw(random, depth - 1) for _ in range(random.randint(1, 3))]}


def one_of(random, depth):
    return {"oneOf": [{"type": "boolean"}, string(random, depth), {"type": "integer", "minimum": 3, "maximum": 9}]}


def all_of(random, depth):
    return {"allOf": [{"type": "integer", "minimum": -5}, {"maximum": random.randint(0, 50)}]}


def types(random, depth):
    return {"type": ["string", "null"], "maxLength": 5}


def reference(random, depth):
    return {"$ref": random.choice(["#/$defs/leaf", "#/$defs/tree"])}


def drawn(seed, count):
    for number in range(count):
        draws = random.Random(f"{seed} {number}")
        schema = draw(draws, 3)
        schema["$defs"] = {
            "leaf": draw(draws, 0),
            "tree": {"type": "object", "properties": {"value": {"type": "integer", "maximum": 9, "minimum": 0}, "child": {"$ref": "#/$defs/tree"}}, "required": ["value"], "additionalProperties": False},
        }
        yield schema


def of_function(schema):
    """A schema with the words of JSON schemas for those of the leaderboard."""
    schema = {key: value for key, value in schema.items() if key != "optional"}
    kind = schema.pop("type", None)
    if kind not in (None, "any"):
        schema["type"] = TYPES.get(kind, kind)
    # What is written beside an array is meant of its items: no array is one of these texts.
    if schema.get("type") == "array" and "enum" in schema:
        schema["items"] = {"enum": schema.pop("enum")}
    if isinstance(schema.get("properties"), dict):
        schema["properties"] = {name: of_function(value) for name, value in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = of_function(schema[key])
    return schema


def real():
    folder = next(path for path in importlib.metadata.files("bfcl-eval") if path.name == f"BFCL_v4_{FILES[0]}.json").locate().parent
    functions = {}
    for name in FILES:
        for line in (folder / f"BFCL_v4_{name}.json").read_text().splitlines():
            for function in json.loads(line)["function"]:
                functions.setdefault(json.dumps(of_function(function["parameters"])), None)
    return [json.loads(text) for text in random.Random(1).sample(sorted(functions), REAL)]


def check(path):
    formats = jsonschema.FormatChecker()
    wrong = 0
    for line in open(path, encoding="utf-8"):
        sample = json.loads(line)
        validator = jsonschema.Draft202012Validator(sample["schema"], format_checker=formats)
        errors = [error.message for error in validator.iter_errors(json.loads(sample["reply"]))]
        if errors:
            wrong += 1
            print(f"{sample['reply']} is not as {json.dumps(sample['schema'])} says: {errors[0]}")
    print("all as expected" if wrong == 0 else f"{wrong} replies are wrong")
    return wrong


if sys.argv[1] == "draw":
    for schema in [*drawn(sys.argv[2], int(sys.argv[3])), *real()]:
        print(json.dumps(schema))
else:
    sys.exit(bool(check(sys.argv[2])))
