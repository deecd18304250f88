#!/bin/sh
# Text to text in one language: learn to correct typing errors. sh examples/spelling/run.sh [RUN_FOLDER] [KEY=VALUE]...
# Source and target share characters as tokens, so every misspelling can be read. One to two minutes on one CPU core.
set -eu
here=$(dirname "$0")
run=${1:-runs/spelling}
[ $# -eq 0 ] || shift
python=${PYTHON:-python}

mkdir -p "$run"
$python "$here/make_pairs.py" "${PAIRS:-3000}" > "$run/pairs.tsv"

# The codes of the two languages only name them: here, English with and without errors.
$python -m seq2seq.train data=files data.src=typed data.tgt=en data.train.tsv="$run/pairs.tsv" \
    data.tokenizer.type=char data.tokenizer.vocab_size=60 data.tokenizer.byte_fallback=false \
    model.hidden_size=128 model.emb_size=64 model.attention_size=64 data.valid_pairs=100 data.test_pairs=200 \
    training.max_minutes=null training.max_steps=600 training.validate_every_steps=200 training.log_every_steps=100 \
    training.batch_tokens=1000 training.learning_rate=5e-3 training.warmup_steps=50 training.monitor=chrf hydra.run.dir="$run" "$@"

printf 'The old mna sleeeps.\nThe docttor cooks hsi soup.\n' | $python -m seq2seq.translate "$run"
