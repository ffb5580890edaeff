#!/bin/sh
# Writes the digest behind the tag of each base into the Dockerfiles, so that a build takes the very image that was looked
# at. The tag stays in front for people. A base whose registry does not answer stays as it is, and is named: exit code 3.
#     make pin-bases          # needs skopeo
set -eu

cd "$(dirname "$0")"
command -v skopeo > /dev/null || { echo "skopeo is missing: apt install skopeo" >&2; exit 3; }

unresolved=0
for base in $(sed -n -E 's/^ARG (BUILD_)?BASE=//p' ./*.Dockerfile | sort -u); do
    tagged=${base%@*}
    if digest=$(skopeo inspect --no-tags --format '{{.Digest}}' "docker://$tagged") &&
        echo "$digest" | grep -qxE 'sha256:[0-9a-f]{64}'; then
        sed -i -E "s|^(ARG (BUILD_)?BASE)=$base\$|\1=$tagged@$digest|" ./*.Dockerfile
        echo "$tagged is $digest"
    else
        echo "$tagged could not be resolved; it stays $base" >&2
        unresolved=3
    fi
done
exit $unresolved
