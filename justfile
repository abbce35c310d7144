# Shortcuts; every recipe is a plain command that works without just.

# list the shortcuts
default:
    @just --list

# what a pull request must pass
ready:
    cargo xtask test

# the same without the tests that need a fetched model
ready-offline:
    cargo xtask test --offline

# the house rules
tidy:
    cargo xtask tidy

# schemas, pages of parts, list of recipes
generate:
    cargo xtask generate

# tests of one crate
test CRATE:
    cargo nextest run -p {{CRATE}}

# licenses, advisories and duplicate versions (needs cargo-deny)
deny:
    cargo deny check

# the quickstart
quickstart:
    cargo run --release -- run recipes/quickstart.toml
