# Stands for a transcriber, or for the notes stage: stage.sh WORKER RECORDING
#
# Takes a few hundred milliseconds. Its result has the name of the worker and the SHA-256 of the recording.
worker=$1
digest=$(sha256sum <"$2") && digest=${digest%% *} || exit 1
# The time depends on the recording.
steps=$((0x$(printf %.1s "$digest") / 2 + 3))
step=0 segments=
while [ "$step" -lt "$steps" ]; do
    segment="{\"start\": 0.0$step, \"end\": 0.5, \"text\": \"part $step\"}"
    segments=$segments${segments:+, }$segment
    if [ "$worker" = bundled ]; then echo "{\"segment\": $segment}"; fi
    if [ "$worker" = bundled ] || [ "$worker" = notes ]; then
        echo "{\"progress\": $((step * 100 / steps)), \"message\": \"Step $step\"}"
    fi
    step=$((step + 1))
    sleep 0.06
done
result="{\"text\": \"$worker $digest\", \"segments\": [$segments]}"
case $worker in
    bundled | notes) echo "{\"result\": $result}" ;;
    *) echo "$result" ;;
esac
