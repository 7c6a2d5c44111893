# Sourced by skein.sbatch, skein-mpirun.sbatch, skein-mpirun and doctor: what they share.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${script:-skein}" "$*" >&2; }

# The program: $SKEIN, or the one that was installed with the folder $1 that this file is in, or the newest that was built
# beside it, or the search path's.
find_skein() {
    local candidate newest=""
    if [[ -n ${SKEIN:-} ]]; then
        if [[ ! -f $SKEIN || ! -x $SKEIN ]]; then
            say "SKEIN: found '$SKEIN', wanted the program skein"
            return 66
        fi
        realpath "$SKEIN"
        return
    fi
    for candidate in "$1"/../build/bin/skein "$1"/../build/*/bin/skein; do
        if [[ -x $candidate && (-z $newest || $candidate -nt $newest) ]]; then newest=$candidate; fi
    done
    for candidate in "$1/../../bin/skein" "$newest" "$(command -v skein || true)"; do
        if [[ -f $candidate && -x $candidate ]]; then
            realpath "$candidate"
            return
        fi
    done
    say "found no program skein; wanted it built, installed, in the search path, or named by SKEIN=/path/to/skein"
    return 66
}

# What stands behind --out in a command line of skein's.
out_of() {
    local word previous=""
    for word in "$@"; do
        if [[ $previous == --out ]]; then
            echo "$word"
            return
        fi
        if [[ $word == --out=* ]]; then
            echo "${word#--out=}"
            return
        fi
        previous=$word
    done
}

# The newest checkpoint in the run's folder $1, which is for skein the last in the sequence of saves and not that of the
# highest step: its name and its place in the sequence, "step-00000120 7". Nothing: there is none.
newest_checkpoint() {
    local manifest folder line sequence newest=-1 found=""
    for manifest in "$1"/checkpoints/step-*/manifest.json; do
        folder=${manifest%/*} sequence=0
        [[ -f $manifest && ${folder##*/} =~ ^step-[0-9]+$ ]] || continue
        line=$(grep -a -m 1 '^"sequence": ' "$manifest" 2>/dev/null || true)
        if [[ $line =~ ([0-9]+) ]]; then sequence=${BASH_REMATCH[1]}; fi
        if ((sequence > newest)); then newest=$sequence found="${folder##*/} $sequence"; fi
    done
    echo "$found"
}

# Its step; -1: there is none.
newest_step() {
    local newest
    newest=$(newest_checkpoint "$1")
    if [[ $newest =~ ^step-([0-9]+) ]]; then echo $((10#${BASH_REMATCH[1]})); else echo -1; fi
}

# OUT/restarts holds how many starts in a row have brought no newer checkpoint, the newest one when the run was last started
# again, and the newest when somebody started it by hand, upon which all is counted anew. No such file: 0, and none.
write_restarts() {
    mkdir -p "$1" && printf '%s without a newer checkpoint\nnewest %s\nbegan %s\n' "$2" "$3" "$4" >"$1/restarts"
}
# Sets count, last and began of the caller's.
read_restarts() {
    count=0 last="" began=""
    if [[ -r $1/restarts ]]; then { read -r count _ && read -r _ last && read -r _ began; } <"$1/restarts" || true; fi
    [[ $count =~ ^[0-9]+$ ]] || count=0
}
begin_restarts() {
    local newest
    newest=$(newest_checkpoint "$1")
    rm -f "$1/restarts"
    [[ -z $newest ]] || write_restarts "$1" 0 "$newest" "$newest"
}

# After a stop with code 75: whether to start the run in folder $1 again. Not when the last 3 starts
# ($SKEIN_MOST_RESTARTS) brought no newer checkpoint, as its time is too short for a step and a save, say.
may_restart() {
    local out=$1 most=${SKEIN_MOST_RESTARTS:-3} newest count last began
    newest=$(newest_checkpoint "$out")
    read_restarts "$out"
    if [[ -n $newest && $newest != "$last" ]]; then count=0; else count=$((count + 1)); fi
    if ((count >= most)); then
        say "stopped for good: $count starts without a checkpoint newer than step $(newest_step "$out") in $out"
        return 1
    fi
    write_restarts "$out" "$count" "$newest" "$began"
}

# Sets `words` to skein's words, those behind the run's folder $1, for a start that is not the first: where it began does
# not matter any more once it has saved, and so they are without --resume and what it names.
set_words_of_restart() {
    local newest count last began word previous=""
    newest=$(newest_checkpoint "$1")
    read_restarts "$1"
    words=("${@:2}")
    [[ -n $newest && $newest != "$began" ]] || return 0
    words=()
    for word in "${@:2}"; do
        [[ $word == --resume || $word == --resume=* || $previous == --resume ]] || words+=("$word")
        previous=$word
    done
}

# Signals. asked: those that came, in order. All of them reach the launcher as SIGUSR1, upon which the ranks save and
# exit with 75: a SIGTERM or SIGINT that mpirun sees leaves its ranks about one second. A second SIGINT ends all at once.
asked=${asked:-} child="" reminder=""
on_signal() {
    local again=""
    [[ $1 == INT && $asked == *INT* ]] && again=yes
    asked+=" $1"
    [[ -n $child ]] || return 0
    if [[ -n $again ]]; then
        kill -INT "$child" 2>/dev/null || true
    else
        ask_to_stop
    fi
}
# SIGUSR1 to the launcher, and again every few seconds for as long as it lives: mpirun loses one that comes before its ranks.
ask_to_stop() {
    kill -USR1 "$child" 2>/dev/null || true
    [[ -z $reminder ]] || return 0
    { while sleep 5 && kill -USR1 "$child"; do :; done; } &>/dev/null &
    reminder=$!
    disown "$reminder" # the shell is not to tell of its end
}
# The code of what SIGUSR1 has killed: a launcher or a rank that does not listen to it yet, or, as it is leaving with 75, no
# more. It counts as 75; whether anything was saved is for may_restart to see.
killed_by_usr1=$((128 + $(kill -l USR1)))
catch_signals() {
    trap 'on_signal USR1' USR1
    trap 'on_signal INT' INT
    trap 'on_signal TERM' TERM
    trap 'on_signal HUP' HUP
}

# Whether somebody asked for an end, not only for a stop as a time limit's warning does.
asked_to_end() { [[ $asked == *INT* || $asked == *TERM* || $asked == *HUP* ]]; }

# Runs a launcher with its words, in a process group of its own, so that a terminal's Ctrl-C comes to this script alone,
# and sets `code` to its exit code. Nothing is run when a signal came already.
run_launcher() {
    local before
    code=75
    [[ -z $asked ]] || return 0
    set -m
    if [[ -t 0 ]]; then
        "$@" </dev/null &
    else
        "$@" &
    fi
    child=$!
    set +m
    if [[ -n $asked ]]; then ask_to_stop; fi
    while :; do # a signal ends a wait early; what it waits for is then waited for again
        before=$asked code=0
        wait "$child" || code=$?
        [[ $asked != "$before" ]] || break
    done
    child=""
    if [[ -n $reminder ]]; then kill "$reminder" 2>/dev/null || true; fi
    if [[ -n $asked && $code -eq $killed_by_usr1 ]]; then code=75; fi
}

# Cores of this machine, of which a hyperthread is none; 0 where lscpu does not tell.
cores_of_host() { lscpu -p=core,socket 2>/dev/null | grep -v '^#' | sort -u | wc -l || true; }

# How many of what SLURM calls a CPU are one core of the job's node: its hardware threads, or itself, as the site has it.
cpus_of_a_core() {
    local node cpus=0 cores=1
    node=$(scontrol show node "${SLURMD_NODENAME:-}" 2>/dev/null || true)
    if [[ $node =~ CPUTot=([0-9]+) ]]; then cpus=${BASH_REMATCH[1]}; fi
    if [[ $node =~ CoresPerSocket=([0-9]+) ]]; then cores=${BASH_REMATCH[1]}; fi
    if [[ $node =~ Sockets=([0-9]+) ]]; then cores=$((cores * BASH_REMATCH[1])); fi
    echo $((cores > 0 && cpus > cores ? cpus / cores : 1))
}

# Open MPI wants to be told twice that running as root is meant. In a container everybody is root; what it may not do
# there is to read another process's memory.
allow_root_in_a_container() {
    [[ $(id -u) -eq 0 && -z ${OMPI_ALLOW_RUN_AS_ROOT:-} ]] || return 0
    if [[ ! -e /.dockerenv && ! -e /run/.containerenv && -z ${container:-} ]]; then return 0; fi
    say "root in a container: sets OMPI_ALLOW_RUN_AS_ROOT and switches single-copy messages off"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
}

# The begin of a SLURM job: $1 is the folder of its script, the rest skein's words. Sets `skein`, the program, `words`, its
# words for this start, `out`, the run's folder, and `code`, the run's until it has one.
begin_job() {
    local here=$1
    shift
    catch_signals
    out=$(out_of "$@") code=70
    [[ ${1:-} == train && -n $out ]] || { say "found '$*', wanted train ... --out DIR"; exit 64; }
    [[ -n ${SLURM_JOB_ID:-} ]] || { say "runs in a SLURM job: sbatch $0 ..."; exit 64; }
    skein=$(find_skein "$here")
    words=("$@")
    if [[ ${SLURM_RESTART_COUNT:-0} -eq 0 ]]; then
        begin_restarts "$out" || true
    else
        set_words_of_restart "$out" "$@"
    fi
}

# Whether SLURM is taking the nodes away from this start of the job.
is_preempted() { [[ $(scontrol show job "$SLURM_JOB_ID" 2>/dev/null || true) =~ \ PreemptTime=[0-9] ]]; }

# The end of a SLURM job whose run, of the folder $1, ended with `code`: requeued on 75, over with any other, unless the
# job is preempted: within its GraceTime SLURM ends mpirun's daemons, and mpirun then has another code.
finish_job() {
    [[ $code -ne $killed_by_usr1 ]] || code=75 # of SLURM's own
    [[ $code -ne 0 ]] || exit 0
    if [[ $code -ne 75 ]] && ! is_preempted; then
        say "ended with code $code: not requeued"
        exit "$code"
    fi
    if [[ $code -eq 75 ]] && asked_to_end; then
        say "told to end: not requeued here"
        exit 75
    fi
    may_restart "$1" || exit "$code"
    say "stopped with code $code at step $(newest_step "$1"): requeued"
    scontrol requeue "$SLURM_JOB_ID" || say "scontrol requeue $SLURM_JOB_ID failed: start the job again by hand"
    exit "$code"
}
