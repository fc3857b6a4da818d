#!/bin/sh
# Check with curl alone that a running server answers as it should: scripts/smoke.sh URL PHOTO
# Sends the token in $DEEPLAB_TOKEN and trusts the authority in $REQUESTS_CA_BUNDLE, if they are set.
# Prints what was checked; on the first wrong answer prints a reason and exits with 1.
set -u

if [ $# -ne 2 ] || [ ! -s "$2" ]; then
    echo "usage: $0 URL PHOTO, with a photograph that exists" >&2
    exit 2
fi
url=$1
photo=$2
answer=$(mktemp -d) || exit 2
trap 'rm -rf "$answer"' EXIT

# In a file, because every user of the machine can read command lines.
(umask 077 && : >"$answer/curl")
[ -n "${DEEPLAB_TOKEN:-}" ] && printf 'header = "Authorization: Bearer %s"\n' "$DEEPLAB_TOKEN" >>"$answer/curl"
[ -n "${REQUESTS_CA_BUNDLE:-}" ] && printf 'cacert = "%s"\n' "$REQUESTS_CA_BUNDLE" >>"$answer/curl"

fail() {
    echo "smoke: FAILED: $1" >&2
    [ -s "$answer/body" ] && { printf 'the answer begins: '; head -c 300 "$answer/body" | LC_ALL=C tr -c '[:print:]' '.'; echo; } >&2
    exit 1
}

# ask WHAT STATUS CONTENT-TYPE CURL-OPTION...: the answer must have this status and content type
ask() {
    what=$1 status=$2 type=$3
    shift 3
    : >"$answer/body"
    seen=$(curl -sS -K "$answer/curl" --max-time 60 -o "$answer/body" -w '%{http_code} %{content_type}' "$@" "$url" 2>"$answer/error") ||
        fail "$what: curl cannot reach $url: $(cat "$answer/error"); start a server with make serve"
    [ "$seen" = "$status $type" ] || fail "$what: answered '$seen', should be '$status $type'"
    echo "smoke: ok: $what: $seen, $(wc -c <"$answer/body" | tr -d ' ') bytes"
}

# holds TEXT WHAT: the answer must contain TEXT
holds() {
    grep -aq "$1" "$answer/body" || fail "$2"
}

ask "photograph, as JSON" 200 application/json -T "$photo" -X POST
holds '"segments":\[{' "no segments in the JSON answer"
holds '"counts":"' "no run lengths in the JSON answer"

ask "photograph, as palette PNG" 200 image/png -T "$photo" -X POST -H 'Accept: image/png'
holds 'PLTE' "the PNG has no palette"
holds 'IEND' "the PNG is cut short"

ask "photograph in a form, as overlay" 200 image/jpeg -F "data=@$photo" -H 'X-Segment-Format: overlay'

ask "bytes that are no image" 400 application/json -X POST -H 'Content-Type: application/octet-stream' --data-binary 'not an image'
holds '"type":"InvalidImage"' "the error does not name its type"

ask "an option that does not exist" 400 application/json -T "$photo" -X POST -H 'X-Segment-Colour: red'
holds '"type":"InvalidOption"' "the error does not name its type"

echo "smoke: all answers are right"
