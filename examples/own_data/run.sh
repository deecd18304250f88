#!/bin/sh
# Train on your own sentence pairs, translate, evaluate: sh examples/own_data/run.sh [RUN_FOLDER] [KEY=VALUE]...
# clock.tsv has 240 English and German sentences that tell the time, made for this example. About a minute on one CPU core.
set -eu
pairs=$(dirname "$0")/clock.tsv
run=${1:-runs/own_data}
[ $# -eq 0 ] || shift
python=${PYTHON:-python}

# A small network, and a limit in updates instead of minutes. 24 of the pairs are held out for validation and test.
$python -m seq2seq.train data=files data.src=en data.tgt=de data.train.tsv="$pairs" data.tokenizer.vocab_size=350 \
    model.hidden_size=128 model.emb_size=64 model.attention_size=64 model.dropout.embedding=0.2 model.dropout.readout=0.2 \
    training.max_minutes=null training.max_steps=300 training.validate_every_steps=100 training.log_every_steps=50 \
    training.batch_tokens=400 training.learning_rate=5e-3 training.warmup_steps=50 hydra.run.dir="$run" "$@"

# A sentence that the file does not have; it should be: Der Zug fährt um fünf nach halb sieben ab.
printf 'The train leaves at twenty-five to seven.\n' | $python -m seq2seq.translate "$run"

# The held-out test pairs again, with all scores.
$python -m seq2seq.evaluate "$run"
