# The same commands as ./x, for those who have `just`.

# list the recipes
default:
    @just --list

# the edge with a simulated provider; prints what to try
demo:
    ./x demo

# every test
test:
    ./x test

# the official SDKs through every pair of formats; writes the table of docs/formats.md
matrix:
    ./x matrix

# Codex, Claude Code and Gemini CLI through the edge (a big download)
agents *ARGS:
    ./x agents {{ARGS}}

# what a change must pass
ci:
    ./x ci

# the codec with every change that cargo-mutants knows: which ones no test notices
mutants *ARGS:
    ./x mutants {{ARGS}}

# benchmarks of the codec
bench *ARGS:
    ./x bench {{ARGS}}

# load scenarios: chat, stream, mixed, spike, soak
k6 *ARGS:
    ./x k6 {{ARGS}}

# format, then lint as CI does
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# reloads, upgrades, dying providers, thousands of streams, under load
drill *ARGS:
    ./x drill {{ARGS}}
