#!/bin/sh
# The experiments at the scale of the paper, on a CUDA device, in pieces of 8 minutes that go on where the last
# one stopped: kill it, move DIR to another machine, start it again.
#
#     sh data_scripts/paper_scale.sh KODAK DIR [SECONDS [PIECES [INPUT ...]]]
#
# KODAK    the folder of the Kodak pictures (data_scripts/kodak.py)
# DIR      rows, networks, priors; reports are in DIR/paper
# SECONDS  of a piece, 480 by default; what a piece has begun it finishes
# PIECES   how many at most; 0, the default, is until all is done
# INPUT    meshes for the occupancy experiment (lucy.obj ...), data sets for the scenes (lego400)
#
# Exit code 0: all is done. 75: there is more to do, start it again. 1: something was left out, as the log says:
# give its data.
set -eu
[ $# -ge 2 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
kodak=$1 folder=$2 seconds=${3:-480} pieces=${4:-0}
if [ $# -gt 4 ]; then shift 4; else shift $#; fi
done=0
while :; do
    facts=$(sinr3d bench all "$@" --scale paper --data "$kodak" -o "$folder" --max-seconds "$seconds" --json)
    done=$((done + 1))
    case $facts in
        *'"all_done": true'*) exit 0 ;;
        *'"more_to_do": false'*) exit 1 ;;
    esac
    [ "$pieces" -eq 0 ] || [ "$done" -lt "$pieces" ] || exit 75
done
