#!/usr/bin/env bash
# How late Tacho, `aiperf` and `vllm bench serve` release requests, and up to which rate each keeps up.
#
#   benches/peers/load.sh [OPTION...]
#
#   --rate N          requests/s of the same offered load on both sides (default 500), constant
#   --seconds N       how long each side offers it, and each rate of the ceilings (default 20)
#   --ceiling LIST    rates to try for the ceilings, ascending (default 1000,2000,…,256000); each side stops at its first miss
#   --high N          Tacho's own high rate, Poisson (default 10000), for --minutes N of schedule (default 10)
#   --aiperf PROGRAM  an aiperf; without it, one is installed from PyPI into an environment of its own in the cache
#   --vllm PYTHON     of an environment with vLLM and its `bench serve`; without it that peer is left out, and said to be
#   --minutes 0       leaves the high rate out
#   --tacho PROGRAM   a built `tacho`; without it, this clone's is built
#   --keep FOLDER     keeps every run's files there
#
# Tacho's lateness is released - scheduled, by the cell's own stamps, with `sim` without costs in real time; its requests
# need no HTTP. A peer's is the arrival at a server on this machine that does nothing (benches/peers/noop_server.rs), against
# the even schedule laid through the arrivals as favourably as they allow: the earliest one is late by 0. So a peer's figure
# includes the way to the server, a fraction of a millisecond, and leaves out any lateness that all its requests share. A rate
# is kept up with when at least 98 % of it arrives and the 99th percentile of the lateness is at most 10 ms. Figures count
# on a quiet machine only.
# shellcheck source=benches/peers/lib.sh
. "$(dirname "$0")/lib.sh"

rate=500 seconds=20 ceiling=1000,2000,4000,8000,16000,32000,64000,128000,256000 high=10000 minutes=10 aiperf='' vllm='' tacho='' keep=''
read_options rate seconds ceiling high minutes aiperf vllm tacho keep -- "$@"
whole_numbers "$rate" "$seconds" "$high"
[[ $minutes =~ ^[0-9]+$ ]] || die "expected a whole number of minutes, found '$minutes'"
tacho_program
python=$(command -v python3) || die "python3 is needed to read the figures"
if [ -z "$aiperf" ]; then
    venv=$cache_dir/peers/aiperf
    if [ ! -x "$venv/bin/aiperf" ]; then
        uv=$(uv_program "$python")
        say "installing aiperf from PyPI into $venv"
        if ! "$uv" venv -q --clear --python 3.12 "$venv" >&2 ||
            ! "$uv" pip install -q --python "$venv/bin/python" aiperf==0.13.0 >&2; then
            die "aiperf could not be installed; name one with --aiperf"
        fi
    fi
    aiperf=$venv/bin/aiperf
fi
results_folder
rustc --edition 2024 -O "$root/benches/peers/noop_server.rs" -o "$out/noop_server" || die "the no-op server does not compile"
# aiperf makes texts: a word a token, so that nothing is fetched.
mkdir -p "$out/model"
echo '{"vocab_size": 1000}' >"$out/model/config.json"
"$(dirname "$aiperf")/python" "$root/benches/peers/vllm_tokenizer.py" "$out/model" "$out/tokenizer" ||
    die "no tokenizer could be made: expected the python of aiperf's environment beside $aiperf"
table=("$python" "$root/benches/peers/load_table.py")

# tacho NAME RATE REQUESTS ARRIVALS: one open trial of sim without costs.
offer_tacho() {
    "$tacho" run --engine sim --engine-option sim.step_base_us=0 --engine-option sim.prefill_token_us=0 \
        --engine-option sim.decode_seq_us=0 --engine-option sim.max_seqs=1024 --input 1 --output 1 --rate "$2" --requests "$3" \
        --arrivals "$4" --max-warmup 0 --min-trials 1 --max-trials 1 --telemetry off --quiet --out "$out/$1" \
        >"$out/$1.log" 2>&1 || die "tacho run failed: $(tail -n 20 "$out/$1.log")"
}

aiperf_profile() {
    "$aiperf" profile --model noop --url "http://127.0.0.1:$1" --endpoint-type chat --streaming --tokenizer "$out/tokenizer" \
        --isl 8 --osl 1 --request-rate "$2" --arrival-pattern constant --request-count "$3" --random-seed 1 \
        --ui-type none --artifact-dir "$4"
}

vllm_bench_serve() {
    # The program `vllm` asks for the metadata of a package of that name, which builds for CPUs lack.
    "$vllm" -c 'from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser as Parser
parser = Parser()
add_cli_args(parser)
main(parser.parse_args())' --backend openai-chat --endpoint /v1/chat/completions --base-url "http://127.0.0.1:$1" --model noop \
        --tokenizer "$out/tokenizer" --dataset-name random --random-input-len 8 --random-output-len 1 --request-rate "$2" \
        --burstiness inf --num-prompts "$3" --seed 1 --disable-tqdm
}

# offer PEER NAME RATE REQUESTS: the same from a peer, to a server of its own.
offer() {
    local peer=$1 name=$2 port server
    mkfifo "$out/$name.stop"
    "$out/noop_server" "$out/$name.arrivals" <"$out/$name.stop" >"$out/$name.port" &
    server=$!
    exec 3>"$out/$name.stop"
    until [ -s "$out/$name.port" ]; do sleep 0.05; done
    port=$(cat "$out/$name.port")
    # A peer that cannot keep up may take any time.
    (cd "$out" && export out aiperf vllm &&
        timeout $((seconds * 4 + 120)) bash -c "$(declare -f "$peer"); $peer \"\$@\"" - "$port" "$3" "$4" "$out/$name") \
        >"$out/$name.log" 2>&1 3>&- || say "$peer at $3/s ended badly: $(tail -n 3 "$out/$name.log")"
    exec 3>&-
    wait "$server"
}

peers=(aiperf_profile)
if [ -n "$vllm" ]; then peers+=(vllm_bench_serve); else say "vllm bench serve: left out, no --vllm"; fi
say "the same load, $rate/s for $seconds s: tacho, then ${peers[*]}"
offer_tacho same "$rate" $((rate * seconds)) constant
for peer in "${peers[@]}"; do offer "$peer" "same.$peer" "$rate" $((rate * seconds)); done
if [ "$minutes" -gt 0 ]; then
    say "tacho alone, $high/s for $minutes min"
    offer_tacho high "$high" $((high * minutes * 60)) poisson
fi

for side in tacho "${peers[@]}"; do
    for offered in ${ceiling//,/ }; do
        say "$side's ceiling: $offered/s"
        if [ "$side" = tacho ]; then
            offer_tacho "ceiling.tacho.$offered" "$offered" $((offered * seconds)) constant
        else
            offer "$side" "ceiling.$side.$offered" "$offered" $((offered * seconds))
        fi
        "${table[@]}" kept "$side" "$out/ceiling.$side.$offered" "$offered" $((offered * seconds)) || break
    done
done
"${table[@]}" table "$out" "$rate" $((rate * seconds)) "${peers[@]}"
